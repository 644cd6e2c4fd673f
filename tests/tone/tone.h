// tone.h - a family of models that makes a tone: the smallest there is, for the tests of what
// stands around a model. Never part of the product.
//
// It is a real family (engine/family.h), so a test that uses it goes through the real engine and
// batch, and hears the engine's own errors. Its model is a folder whose config.json says
// {"model_type": "tone"}. Words in a request's prompt steer it:
//
//     slow:300      a stem takes 300 ms, and stems of one request come one after the other
//     fail:bass     that stem fails when it is finished
//     device:bass   likewise, and it is the device that failed; "device" alone fails every stem
//     nomemory:bass fails that stem when it begins
//     step:bass     the step that this stem takes part in fails
//     refuse        the request is refused when it is looked at, at its prompt
//     hum           a warning of its prompt
//     gpu-begin:bass, gpu-column:bass, gpu-end:bass
//                   there the GPU fails, if the model was opened on one (tone_gpu)
//
// The environment delays loading (TONE_LOAD_MS) and fails it (TONE_LOAD_FAIL).
#pragma once
#include <stdatomic.h>

#include "engine/family.h"

#define TONE_MODEL "tests/tone/model"

extern const family_ops tone_family_ops;

// For tests in the same process. While it is held a stem stops after half of its steps.
extern atomic_bool tone_hold;
extern atomic_bool tone_device_back; // no device fails any more
extern atomic_bool tone_gpu;         // a model that is opened says that it is on a GPU
extern atomic_bool tone_gpu_stays;   // it cannot leave it
extern atomic_int tone_held;         // takes that were seen waiting so, since the process began
extern atomic_int tone_made[7];      // stems finished, by their index in the request
