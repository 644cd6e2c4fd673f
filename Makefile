# Makefile - builds everything; no configure step. `make help` lists the targets.
#
#   make                     build/stemforge and build/libstemforge.a
#   make test                unit tests, kernels at every instruction set, fuzz corpora
#   make test SAN=address,undefined | SAN=thread
#   make fuzz T=safetensors TIME=60
#   make parity MODEL=dir    every stage against live transformers
#   make quality MODEL=dir   what narrow weights do to the distribution of the next code
#   make model-eval          the shipped model on 1,000 held-out requests
#   make torture | fuzz-api | bench-load    the service: kill -9, schemathesis, load
CC      ?= cc
SAN     ?=
comma   := ,
OUT     := build$(if $(SAN),/san-$(firstword $(subst $(comma), ,$(SAN))))
VERSION := 0.1.0
PREFIX  ?= /usr/local

WARN     = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion \
           -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
CFLAGS  := -std=c17 -O2 -g -fno-omit-frame-pointer -ffp-contract=off -D_POSIX_C_SOURCE=200809L \
           -D_DEFAULT_SOURCE -DSTEMFORGE_VERSION=\"$(VERSION)\" -Isrc -I$(OUT) -MMD -MP $(WARN) \
           $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all)
LIBS    := -lmicrohttpd -lcurl -ljansson -lcrypto -lsqlite3 -lsndfile -lpng -lpthread -lm
LDFLAGS := $(if $(SAN),-fsanitize=$(SAN))

SRC      := $(sort $(wildcard src/*/*.c src/*/*/*.c))
APP_SRC  := $(filter src/app/%,$(SRC))
LIB_SRC  := $(filter-out src/app/%,$(SRC))
obj       = $(patsubst %.c,$(OUT)/%.o,$(1))
LIB      := $(OUT)/parts.a
ENGINE   := $(OUT)/libstemforge.a
ENGINE_SRC := $(filter $(addprefix src/,base/% compute/% audio/% format/% model/% request/% engine/%),$(SRC))
BIN      := $(OUT)/stemforge

.PHONY: all test unit parity quality model-eval kern kern-neon corpus fuzz lint format install clean help
all: $(BIN) $(ENGINE)

$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	@echo 'cc  $<'; $(CC) $(CFLAGS) $(ISA_FLAGS) -c $< -o $@

# The service with a tone instead of a model, for tests/api and bench/load.
$(OUT)/tests/tone_server: $(call obj,tests/api/tone_server.c src/app/serve.c src/app/config.c) $(LIB)
	@mkdir -p $(@D)
	@echo 'ld  $@'; $(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
# The blob store from the command line, for tests/api/run-store.sh.
$(OUT)/tests/blob_tool: $(call obj,tests/api/blob_tool.c) $(LIB)
	@mkdir -p $(@D)
	@echo 'ld  $@'; $(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
.PHONY: api torture fuzz-api bench-load
api:
	tests/api/run-api.sh $(SAN)
torture: $(OUT)/tests/tone_server
	STEMFORGE_OUT=$(abspath $(OUT)) python3 tests/api/torture.py --rounds $(or $(ROUNDS),1000)
fuzz-api: $(OUT)/tests/tone_server
	tests/api/fuzz-api.sh $(OUT)
bench-load: $(OUT)/tests/tone_server
	STEMFORGE_OUT=$(abspath $(OUT)) python3 bench/load.py

# The page and the API document are part of the binary.
$(OUT)/embed: tools/embed.c
	@mkdir -p $(@D)
	@$(CC) -std=c17 -O1 -o $@ $<
$(OUT)/gen/page.h: web/index.html $(OUT)/embed
	@mkdir -p $(@D)
	@$(OUT)/embed page <$< >$@
$(OUT)/gen/openapi.h: web/openapi.json $(OUT)/embed
	@mkdir -p $(@D)
	@$(OUT)/embed openapi <$< >$@
$(OUT)/src/service/api_status.o: $(OUT)/gen/page.h $(OUT)/gen/openapi.h

# Only these files may contain instructions beyond the baseline CPU.
ARCH   := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))
AVX512 := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c
ifeq ($(ARCH),x86_64)
%/src/compute/cpu/kern_avx2.o:   ISA_FLAGS := -mavx2 -mfma -mf16c
%/src/compute/cpu/kern_avxvnni.o: ISA_FLAGS := -mavx2 -mfma -mf16c -mavxvnni
%/src/compute/cpu/kern_avx512.o: ISA_FLAGS := $(AVX512)
%/src/compute/cpu/kern_vnni.o:   ISA_FLAGS := $(AVX512) -mavx512vnni
%/src/compute/cpu/kern_avx512bf16.o: ISA_FLAGS := $(AVX512) -mavx512bf16
endif
ifeq ($(ARCH),aarch64)
%/src/compute/cpu/kern_dotprod.o: ISA_FLAGS := -march=armv8.2-a+dotprod
endif

# The public library: the engine's layers in one object that shows stemforge_* and nothing else.
$(ENGINE): $(call obj,$(ENGINE_SRC))
	@rm -f $@; echo 'ar  $@'; ld -r -o $(OUT)/engine.o $^
	@objcopy --wildcard --keep-global-symbol='stemforge_*' $(OUT)/engine.o && ar rcs $@ $(OUT)/engine.o

$(LIB): $(call obj,$(LIB_SRC))
	@rm -f $@; echo 'ar  $@'; ar rcs $@ $^

$(BIN): $(call obj,$(APP_SRC)) $(LIB)
	@echo 'ld  $@'; $(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# Unit tests: one file a module, one runner. Criterion does not survive ThreadSanitizer, so those
# runs use the small one in tests/plain; SUITES="job fetch" picks there.
UNIT_SRC := $(sort $(wildcard tests/unit/*.c))
CRITERION := -lcriterion
ifeq ($(SAN),thread)
UNIT_SRC  += tests/plain/runner.c
CFLAGS    += -Itests/plain
CRITERION :=
endif
$(OUT)/tests/run_unit: $(call obj,$(UNIT_SRC)) $(LIB)
	@echo 'ld  $@'; $(CC) $(LDFLAGS) -o $@ $^ $(CRITERION) -lsoxr $(LIBS)
unit: $(OUT)/tests/run_unit
	$(OUT)/tests/run_unit $(if $(filter thread,$(SAN)),$(SUITES))

KERN_SRC := $(sort $(wildcard tests/kern/*.c))
$(OUT)/tests/run_kern: $(call obj,$(KERN_SRC)) $(LIB)
	@echo 'ld  $@'; $(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
kern: $(OUT)/tests/run_kern
	$(OUT)/tests/run_kern

# The same tests for AArch64, cross-compiled and run under qemu: NEON against the reference there, and
# the digest of the results must be the one this machine computes.
NEON_OUT  := build/neon
NEON_CC   ?= aarch64-linux-gnu-gcc
NEON_QEMU ?= qemu-aarch64
NEON_SRC  := $(addprefix src/,base/err.c base/mem.c base/os.c base/buf.c base/utf8.c base/num.c base/fft.c \
             audio/resample.c audio/post.c request/chords.c engine/musicgen/control.c) \
             $(filter src/compute/%,$(SRC)) $(KERN_SRC)
$(NEON_OUT)/%.o: %.c
	@mkdir -p $(@D)
	@echo 'cc  $< (aarch64)'; $(NEON_CC) $(filter-out -fsanitize=%,$(CFLAGS)) $(NEON_FLAGS) -c $< -o $@
$(NEON_OUT)/src/compute/cpu/kern_dotprod.o: NEON_FLAGS := -march=armv8.2-a+dotprod
$(NEON_OUT)/run_kern: $(NEON_SRC:%.c=$(NEON_OUT)/%.o)
	@echo 'ld  $@'; $(NEON_CC) -static -o $@ $^ -lpthread -lm
kern-neon: $(NEON_OUT)/run_kern $(OUT)/tests/run_kern
	$(NEON_QEMU) $(NEON_OUT)/run_kern >$(NEON_OUT)/out || { cat $(NEON_OUT)/out; exit 1; }
	@cat $(NEON_OUT)/out; $(OUT)/tests/run_kern | grep ^digest >$(NEON_OUT)/want
	@grep ^digest $(NEON_OUT)/out | diff $(NEON_OUT)/want - && echo 'digest equal on both architectures'

# Fuzz targets: one file a parser. `make corpus` replays the kept inputs with a plain main, under any
# compiler; `make fuzz T=name TIME=60` searches for new ones with clang's libFuzzer and ASan, and
# leaves what it found in build/fuzz/name (copy what matters to tests/fuzz/corpus/name).
FUZZ_SRC  := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_NAME := $(FUZZ_SRC:tests/fuzz/fuzz_%.c=%)
$(OUT)/tests/replay_%: $(OUT)/tests/fuzz/fuzz_%.o $(OUT)/tests/fuzz/replay.o $(LIB)
	@echo 'ld  $@'; $(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
corpus: $(FUZZ_NAME:%=$(OUT)/tests/replay_%)
	@for t in $(FUZZ_NAME); do $(OUT)/tests/replay_$$t tests/fuzz/corpus/$$t || exit 1; done

T    ?= safetensors
TIME ?= 60
FUZZ_OUT  := build/fuzz
FUZZ_FLAG := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
$(FUZZ_OUT)/%.o: %.c
	@mkdir -p $(@D)
	@echo 'cc  $<'; clang $(CFLAGS) $(ISA_FLAGS) $(FUZZ_FLAG) -c $< -o $@
$(FUZZ_OUT)/lib.a: $(patsubst %.c,$(FUZZ_OUT)/%.o,$(LIB_SRC))
	@rm -f $@; ar rcs $@ $^
$(FUZZ_OUT)/fuzz_%: $(FUZZ_OUT)/tests/fuzz/fuzz_%.o $(FUZZ_OUT)/lib.a
	@clang -fsanitize=fuzzer,address,undefined -o $@ $^ $(LIBS)
fuzz: $(FUZZ_OUT)/fuzz_$(T)
	@mkdir -p $(FUZZ_OUT)/$(T)
	$< -max_total_time=$(TIME) -timeout=25 -rss_limit_mb=2048 -print_final_stats=1 \
	    -artifact_prefix=$(FUZZ_OUT)/$(T)- $(FUZZ_OUT)/$(T) tests/fuzz/corpus/$(T)

test: unit kern corpus

lint:
	@python3 tools/lint.py

# Every stage against live transformers (tools/requirements.txt): make parity MODEL=dir
PYTHON ?= python3
MODEL  ?= models/stemforge-mini
parity: $(BIN)
	$(PYTHON) tools/parity.py $(MODEL)

# What narrow weights do to the distribution of the next code (tools/requirements.txt): make quality MODEL=dir
quality: $(BIN)
	$(PYTHON) tools/quality.py $(MODEL)

# The shipped model, judged by what build/stemforge makes of held-out requests (train/requirements.txt).
# ALSO="weights=q8 weights=q4 seed=1 model=DIR" sets variants beside it on the first 200 of them.
WORK   ?= build/train
N      ?= 1000
model-eval: $(BIN)
	$(PYTHON) train/eval.py --work $(WORK) --model $(MODEL) --n $(N) $(ALSO:%=--also %) \
	    --write docs/MODEL_CARD.md --pictures docs/img

# For editors.
compile_commands.json: Makefile
	@flags=$$(printf '%s' '$(CC) $(CFLAGS)' | sed 's/[\\"]/\\&/g'); { echo '['; for f in $(SRC); do \
	    printf '{"directory":"%s","file":"%s","command":"%s -c %s"},\n' '$(CURDIR)' $$f "$$flags" $$f; \
	    done | sed '$$ s/,$$//'; echo ']'; } >$@

install: $(BIN) $(ENGINE)
	install -Dm755 $(BIN) $(DESTDIR)$(PREFIX)/bin/stemforge
	install -Dm644 $(ENGINE) $(DESTDIR)$(PREFIX)/lib/libstemforge.a
	install -Dm644 src/stemforge.h $(DESTDIR)$(PREFIX)/include/stemforge.h
	install -Dm644 src/stemforge_error.h $(DESTDIR)$(PREFIX)/include/stemforge_error.h
	install -Dm644 docs/stemforge.1 $(DESTDIR)$(PREFIX)/share/man/man1/stemforge.1

format:
	clang-format -i $$(git ls-files -co --exclude-standard '*.c' '*.h')

clean:
	rm -rf build

help:
	@sed -n 's/^#   //p' Makefile

.SECONDARY:
-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
