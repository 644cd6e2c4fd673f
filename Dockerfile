# Dockerfile - the service as an image: built in one stage, run in another that has no compiler.
# Runs as uid 10001 with a read-only root; /data is all it writes to. The shipped model is inside;
# /models is for others.
#   docker build -t stemforge .        (tools/build-image.sh does the same without a Docker engine)
ARG BASE=debian:bookworm-slim
FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential libmicrohttpd-dev \
        libcurl4-openssl-dev libjansson-dev libssl-dev libsqlite3-dev libpq-dev libsndfile1-dev libpng-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Makefile ./
COPY src src
COPY web web
COPY tools tools
# GPU=1: the kernels for GPUs too; nvcc from PyPI and clang-19 stay in this stage.
ARG GPU=1
RUN [ "$GPU" = 0 ] || { apt-get update && tools/install.sh gpu && rm -rf /var/lib/apt/lists/*; }
RUN make -j"$(nproc)" build/stemforge && strip build/stemforge

FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends libmicrohttpd12 libcurl4 libjansson4 \
        libssl3 libsqlite3-0 libpq5 libsndfile1 libpng16-16 ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin stemforge \
    && install -d -o 10001 -g 10001 /data /models
COPY --from=build /src/build/stemforge /usr/local/bin/stemforge
COPY models/stemforge-mini /usr/local/share/stemforge/models/stemforge-mini
COPY LICENSE /usr/local/share/doc/stemforge/
USER 10001:10001
WORKDIR /data
ENV LISTEN_ADDR=* PORT=8080 DATA_DIR=/data HF_HOME=/models CUDA_CACHE_PATH=/data/nv \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    MODEL=/usr/local/share/stemforge/models/stemforge-mini
VOLUME ["/data", "/models"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["/usr/local/bin/stemforge", "health"]
ENTRYPOINT ["/usr/local/bin/stemforge"]
CMD ["serve"]
