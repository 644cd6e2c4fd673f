// sa_folder.h - what a model of Stable Audio in diffusers' layout consists of.
#pragma once

static const char *const sa_files[] = {"model_index.json",
                                       "transformer/config.json",
                                       "transformer/diffusion_pytorch_model.safetensors",
                                       "vae/config.json",
                                       "vae/diffusion_pytorch_model.safetensors",
                                       "projection_model/config.json",
                                       "projection_model/diffusion_pytorch_model.safetensors",
                                       "text_encoder/config.json",
                                       "text_encoder/model.safetensors",
                                       "scheduler/scheduler_config.json",
                                       "tokenizer/tokenizer.json",
                                       "tokenizer/tokenizer_config.json"};
static const char *const sa_parts[] = {"transformer",  "vae",       "projection_model",
                                       "text_encoder", "scheduler", "tokenizer"};
