// scrape.h - the gauges of /metrics that are read from their sources when somebody asks.
#pragma once
#include "net/http_server.h"
#include "service/events.h"
#include "service/fleet.h"
#include "service/metrics.h"
#include "service/worker.h"
#include "store/blob.h"
#include "store/job.h"

typedef struct {
    job_store *jobs;
    blob_store *blobs;
    metrics *metrics;
    events *events;
    worker *worker;
    fleet *fleet;
    upkeep *upkeep;
    http_server *server;                          // may be NULL
    stemforge_engine *engines[WORKER_MODELS_MAX]; // may be NULL
    const char *model_name;                       // may be NULL
    bool model_loaded, draining;
    int queue_max, workers;
    int64_t started_ms; // wall
} scrape_sources;

// Brings every gauge up to date. What cannot be read keeps its last value.
void scrape_gauges(const scrape_sources *s);
