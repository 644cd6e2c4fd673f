# Makefile - builds everything; no configure step.
#
#   make                     build/stemforge and build/libstemforge.a
#   make test                unit tests, kernels at every instruction set, fuzz corpora
#   make unit | kern | corpus             one of them; SAN=address,undefined or SAN=thread
#   make gpu                 the GPU's path on an emulator: kernels, networks, and the program that ships
#   make gpu-asan            the kernels with the address sanitizer on device memory
#   make gpu-bundle          what tools/gpu-check.sh takes to a machine with a GPU
#   make gpu-mutants         faults planted into the kernels, each of which a test must see
#   make kern-neon           the kernels for AArch64, under qemu
#   make determinism         today's output is yesterday's
#   make permutations        the same bytes for every isa x weights x threads x batch; P='avx2-*' picks some
#   make api | torture | torture-pg | fuzz-api | bench-load | bench-queue   the service: contract, kill -9 (of many
#                            processes on PostgreSQL), schemathesis, load (of the queue on PostgreSQL)
#   make fuzz T=safetensors TIME=60       search for inputs that break a parser
#   make fields              the documents that repeat src/request/fields.c and stems.c
#   make lint | format | map | compile_commands.json
#   make pages               manual pages and completion, as the program prints them: build/pages
#   make examples            the programs of examples/, against the library
#   make parity MODEL=dir    every stage against live transformers, of Stable Audio against diffusers
#   make quality MODEL=dir   what narrow weights do to the distribution of the next code
#   make model-eval          the shipped model on 1,000 held-out requests
#   make install | uninstall [PREFIX=/usr/local] [DESTDIR=]
#   make deb                 Debian packages of this machine's architecture: build/dist/*.deb
#   make dist                a release: source, packages, image where Docker is, SHA256SUMS: build/dist
#
# Of the caller's: CC HOSTCC CPPFLAGS CFLAGS LDFLAGS PYTHON, and OUT, the folder that is written to; the
# source may be read-only then. For AArch64: make CC=aarch64-linux-gnu-gcc OUT=build/arm64.
# OUT may not hold blanks; DESTDIR and PREFIX may.

# --- settings
VERSION  := 0.2.0
CC       ?= cc
# Sanitizer builds are optimised less: they compile in half the time.
CFLAGS   ?= $(if $(SAN),-O1 -g1,-O2 -g)
PYTHON   ?= python3
PREFIX   ?= /usr/local
SAN      ?=
comma    := ,
OUT      := build$(if $(SAN),/san-$(firstword $(subst $(comma), ,$(SAN))))

# Where Debian has libpq's header; elsewhere it lies among the others.
PQ_INCLUDE ?= /usr/include/postgresql

# --- what is compiled how
TRIPLE   := $(shell $(CC) -dumpmachine)
ARCH     := $(firstword $(subst -, ,$(TRIPLE)))
CROSS    := $(if $(filter $(ARCH),$(shell uname -m)),,$(TRIPLE)-)
HOSTCC   ?= $(if $(CROSS),cc,$(CC))
OBJCOPY  ?= $(CROSS)objcopy
ifeq ($(origin AR),default)
AR       := $(CROSS)ar
endif

WARN     := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion \
            -Wstrict-prototypes -Wmissing-prototypes -Wvla
# A warning ends the build, unless it comes of flags that are the caller's.
WERROR   ?= $(if $(filter file,$(origin CFLAGS)),-Werror)
# -Wformat-truncation follows what the optimiser knows: under -O1 it is wrong in places. The build with -O2 has it.
SANITIZE := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -Wno-format-truncation)
# After the caller's flags: results may not depend on them.
ALWAYS   := -std=c17 -ffp-contract=off -fno-fast-math -fno-omit-frame-pointer -D_POSIX_C_SOURCE=200809L \
            -D_DEFAULT_SOURCE -DSTEMFORGE_VERSION=\"$(VERSION)\" -Isrc -I$(OUT) -isystem $(PQ_INCLUDE) $(WARN) $(WERROR)
COMPILE   = $(CPPFLAGS) $(CFLAGS) $(ALWAYS) $(SANITIZE)
LINK      = $(CC) $(CFLAGS) $(LDFLAGS) $(SANITIZE)
LIBS     := -lmicrohttpd -lcurl -ljansson -lcrypto -lsqlite3 -lpq -lsndfile -lpng -lpthread -lm

# Only these files may contain instructions beyond the baseline CPU: ISA_file.
ifeq ($(ARCH),x86_64)
AVX512             := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c
ISA_kern_avx2       := -mavx2 -mfma -mf16c
ISA_kern_avxvnni    := -mavx2 -mfma -mf16c -mavxvnni
ISA_kern_avx512     := $(AVX512)
ISA_kern_vnni       := $(AVX512) -mavx512vnni
ISA_kern_amx        := $(AVX512) -mavx512vnni
ISA_amx_in_c        := $(AVX512) -mavx512vnni
ISA_kern_avx512bf16 := $(AVX512) -mavx512bf16
endif
ARM_DOTPROD        := -march=armv8.2-a+dotprod
ARM_I8MM           := -march=armv8.2-a+dotprod+i8mm
ifeq ($(ARCH),aarch64)
ISA_kern_dotprod    := $(ARM_DOTPROD)
ISA_kern_i8mm       := $(ARM_I8MM)
endif
isa       = $(ISA_$(basename $(notdir $(1))))

# --- the program and the library
SRC      := $(sort $(wildcard src/*/*.c src/*/*/*.c))
APP_SRC  := $(filter src/app/%,$(SRC))
LIB_SRC  := $(filter-out src/app/%,$(SRC))
SOUND    := base compute audio format model gpu request engine
obj       = $(patsubst %.c,$(OUT)/%.o,$(1))
BIN      := $(OUT)/stemforge
ENGINE   := $(OUT)/libstemforge.a
PARTS    := $(OUT)/parts.a

.PHONY: all
all: $(BIN) $(ENGINE)

$(OUT)/%.o: %.c | $(OUT)/have-libraries
	@mkdir -p $(@D)
	@echo 'cc  $<'; $(CC) $(COMPILE) $(call isa,$<) -MMD -MP -c $< -o $@

# Once a folder: a library that is missing is named with its package, before the first error.
$(OUT)/have-libraries: tools/libraries.sh
	@mkdir -p $(@D)
	@tools/libraries.sh $(CC) $(CPPFLAGS) -isystem $(PQ_INCLUDE) $(LDFLAGS) && touch $@

$(BIN): $(call obj,$(APP_SRC)) $(PARTS)
	@echo 'ld  $@'; $(LINK) -o $@ $^ $(LIBS)

# Everything but commands, for the program and the tests. It names the objects, it does not hold them.
$(PARTS): $(call obj,$(LIB_SRC)) Makefile
	@rm -f $@; echo 'ar  $@'; $(AR) rcsT $@ $(filter %.o,$^)

# The public library: the layers of sound in one object that shows stemforge_* and nothing else.
$(ENGINE): $(call obj,$(filter $(SOUND:%=src/%/%),$(SRC)))
	@rm -f $@; echo 'ar  $@'; $(CC) -r -nostdlib -o $(OUT)/engine.o $^
	@$(OBJCOPY) --wildcard --keep-global-symbol='stemforge_*' $(OUT)/engine.o && $(AR) rcs $@ $(OUT)/engine.o

# The page and the API document are part of the binary.
$(OUT)/embed: tools/embed.c
	@mkdir -p $(@D)
	@$(HOSTCC) -std=c17 -O1 -o $@ $<
WEB      := $(OUT)/gen/web
PAGE     := $(patsubst web/%,$(WEB)/%,$(sort $(wildcard web/*.html web/*.css web/*.js web/*.svg web/*.json)))
$(WEB)/%.json: web/%.json $(OUT)/embed
	@mkdir -p $(@D)
	@$(OUT)/embed --json <$< >$@
$(WEB)/%: web/%
	@mkdir -p $(@D)
	@cp $< $@
$(WEB)/%.gz: $(WEB)/%
	@gzip -9nc $< >$@
$(OUT)/gen/page.h: $(PAGE) $(PAGE:=.gz) $(OUT)/embed
	@$(OUT)/embed --page page $(PAGE) >$@ || { rm -f $@; exit 1; }
$(OUT)/src/service/api_page.o: $(OUT)/gen/page.h

# --- the GPU's kernels: compiled where the compilers are (tools/install.sh gpu), and part of the binary. The
# compute's bits are the CPU's, so nothing may be fused, flushed or approximated: lint reads the PTX.
KERN_CU   := src/gpu/kern.cu
GPU_OUT   := $(if $(SAN),$(patsubst %/,%,$(dir $(OUT))),$(OUT))/gpu
NVCC      ?= $(lastword $(wildcard build/cuda/lib/python3*/site-packages/nvidia/cu13/bin/nvcc))
CLANG_PTX ?= $(shell command -v clang-19)
IMAGE_NVCC  := $(if $(wildcard $(KERN_CU)),$(if $(NVCC),$(GPU_OUT)/kern.fatbin))
IMAGE_CLANG := $(if $(wildcard $(KERN_CU)),$(if $(CLANG_PTX),$(GPU_OUT)/kern.ptx))
LINT_PTX    := $(IMAGE_CLANG) $(if $(IMAGE_NVCC),$(GPU_OUT)/kern_80.ptx $(GPU_OUT)/kern_90a.ptx)
NVCC_FLAGS  := -std=c++17 -O3 -fmad=false -prec-div=true -prec-sqrt=true -ftz=false -Isrc
CUBINS      := $(foreach a,80 86 89 90a 100 120,-gencode=arch=compute_$(a),code=sm_$(a)) \
               -gencode=arch=compute_80,code=compute_80
CLANG_FLAGS := -x cuda --cuda-device-only --cuda-gpu-arch=sm_80 --cuda-feature=+ptx71 -nocudainc -nocudalib \
               -std=c++17 -O3 -ffp-contract=off -Isrc
KERN_PARTS   = $(wildcard src/gpu/*.cu src/gpu/*.cuh src/gpu/dev.h src/gpu/kern.h src/compute/math*.h) Makefile
$(GPU_OUT)/kern.fatbin: $(KERN_PARTS)
	@mkdir -p $(@D)
	@echo 'nvcc  $@'; $(NVCC) $(NVCC_FLAGS) $(CUBINS) --threads 0 -compress-mode=size -fatbin $(KERN_CU) -o $@
$(GPU_OUT)/kern_%.ptx: $(KERN_PARTS)
	@mkdir -p $(@D)
	@echo 'nvcc  $@'; $(NVCC) $(NVCC_FLAGS) -arch=compute_$* -ptx $(KERN_CU) -o $@
$(GPU_OUT)/kern.ptx: $(KERN_PARTS)
	@mkdir -p $(@D)
	@echo 'clang $@'; $(CLANG_PTX) $(CLANG_FLAGS) -S $(KERN_CU) -o $@
# Changes only when there are other images, or none.
$(OUT)/gen/kernels.h: $(IMAGE_NVCC) $(IMAGE_CLANG) FORCE
	@mkdir -p $(@D)
	@{ echo '// Made by the Makefile.'; $(if $(IMAGE_NVCC),echo '#define KERNELS_NVCC "$(abspath $(IMAGE_NVCC))"';) \
	    $(if $(IMAGE_CLANG),echo '#define KERNELS_CLANG "$(abspath $(IMAGE_CLANG))"';) } >$@.$$PPID
	@if cmp -s $@ $@.$$PPID; then rm $@.$$PPID; else mv $@.$$PPID $@; fi
# Which commit is built: git's answer in a clone, the file COMMIT in a release. Changes only when the answer does.
$(OUT)/gen/commit.h: FORCE
	@mkdir -p $(@D)
	@commit=$$({ [ -e .git ] && git describe --always --dirty --abbrev=10 --exclude='*' || cat COMMIT; } 2>/dev/null) || \
	    commit=unknown; echo "#define STEMFORGE_COMMIT \"$$commit\"" >$@.$$PPID
	@if cmp -s $@ $@.$$PPID; then rm $@.$$PPID; else mv $@.$$PPID $@; fi
$(OUT)/src/app/version.o: $(OUT)/gen/commit.h
$(OUT)/src/gpu/images.o: $(OUT)/gen/kernels.h $(IMAGE_NVCC) $(IMAGE_CLANG)
$(OUT)/fuzz/src/gpu/images.o: $(OUT)/gen/kernels.h

# What the documents repeat of the rows of request/fields.c is written by a tool, and checked by lint.
.PHONY: fields
# Its own few layers: lint compiles no kernels of the GPU, which take minutes.
$(OUT)/fields: $(call obj,tools/fields.c $(filter src/base/% src/request/%,$(LIB_SRC)))
	@echo 'ld  $@'; $(LINK) -o $@ $^ $(LIBS)
fields: $(OUT)/fields
	@FIELDS=$(OUT)/fields tools/fields.sh

# What the judge of beats and chords learns from: train/pulse.py, train/chords.py.
$(OUT)/hears: $(call obj,tools/hears.c) $(PARTS)
	@echo 'ld  $@'; $(LINK) -o $@ $^ $(LIBS)

# Whether generators for C#, TypeScript and Python make what they should of the API documents (PyPI, npm; x86-64).
.PHONY: openapi-clients
openapi-clients:
	@OUT=$(OUT) PYTHON=$(PYTHON) tools/openapi-clients.sh

# --- tests
.PHONY: test unit kern corpus permutations determinism
test: unit kern corpus

# One file a module, one runner. Criterion does not survive ThreadSanitizer, so those runs use the small
# one in tests/plain; SUITES="job fetch" picks there.
UNIT_SRC  := $(sort $(wildcard tests/unit/*.c))
CRITERION := -lcriterion
ifeq ($(SAN),thread)
UNIT_SRC  += tests/plain/runner.c
ALWAYS    += -Itests/plain
CRITERION :=
endif
# A list of families that has the tone too: it comes before the library's.
TONE := $(call obj,$(sort $(wildcard tests/tone/*.c)))
$(OUT)/tests/run_unit: $(call obj,$(UNIT_SRC)) $(TONE) $(PARTS)
	@echo 'ld  $@'; $(LINK) -o $@ $^ $(CRITERION) -lsoxr $(LIBS)
# Criterion does not look at how a test's process ends, so what the address sanitizer says then goes into files.
unit: $(OUT)/tests/run_unit
	@rm -f $(OUT)/tests/asan.*
	ASAN_OPTIONS=log_path=$(abspath $(OUT))/tests/asan:$$ASAN_OPTIONS $(OUT)/tests/run_unit $(if $(filter thread,$(SAN)),$(SUITES))
	@for f in $(OUT)/tests/asan.*; do [ ! -e "$$f" ] || { cat $(OUT)/tests/asan.*; exit 1; }; done

# Which objects the linker took is kept beside the binary: what kern-neon compiles.
KERN_SRC := $(sort $(wildcard tests/kern/*.c))
$(OUT)/tests/run_kern: $(call obj,$(KERN_SRC)) $(PARTS)
	@echo 'ld  $@'; $(LINK) -Wl,-t -o $@ $^ $(LIBS) >$@.linked
kern: $(OUT)/tests/run_kern
	$(OUT)/tests/run_kern

# What tests of the program and of the service run: built before they run side by side.
.PHONY: test-programs
test-programs: $(OUT)/tests/run_unit $(OUT)/tests/run_kern $(OUT)/tests/tone_server $(OUT)/tests/blob_tool \
    $(OUT)/tests/queue_tool $(OUT)/tests/gpu/libcuda.so.1

determinism: $(BIN)
	tests/determinism/run.sh
permutations: $(BIN)
	tests/cli/permutations.sh $(BIN) '$(P)'

# The GPU's path on an emulator: kernels as C++, behind a libcuda.so.1 of the tests' own.
.PHONY: gpu
CXX       ?= g++
EMU_OUT   := $(OUT)/tests/gpu
# Where the processor has it, the rounded multiply-add is an instruction; its bits are the same.
EMU_FMA   := $(shell grep -qsw fma /proc/cpuinfo && echo -mfma)
EMU_CXX    = $(CXX) -std=c++17 -O3 $(EMU_FMA) -g -fPIC -ffp-contract=off -fno-fast-math -fno-strict-aliasing -fno-plt \
             -fvisibility=hidden -Wall -Wextra -Isrc -Itests/gpu $(SANITIZE) -MMD -MP
EMU_SRC   := $(sort $(wildcard tests/gpu/*.c)) tests/kern/check.c tests/kern/amx_in_c.c
$(EMU_OUT)/%.o: tests/gpu/%.cpp
	@mkdir -p $(@D)
	@echo 'c++ $<'; $(EMU_CXX) -c $< -o $@
$(EMU_OUT)/kern.o: src/gpu/kern.cu
	@mkdir -p $(@D)
	@echo 'c++ $<'; $(EMU_CXX) -x c++ -c $< -o $@
$(EMU_OUT)/libcuda.so.1: $(EMU_OUT)/emu.o $(EMU_OUT)/fake_cuda.o $(EMU_OUT)/kern.o
	@echo 'ld  $@'; $(CXX) -shared $(SANITIZE) -o $@ $^
RUN_GPU    = $(LINK) -Wl,--wrap=gpu_image_get -o $@ $(filter-out %.so.1,$^) $(LIBS)
$(OUT)/tests/run_gpu: $(call obj,$(EMU_SRC)) $(PARTS) $(EMU_OUT)/libcuda.so.1
	@echo 'ld  $@'; $(RUN_GPU)
gpu: $(OUT)/tests/run_gpu $(BIN)
	LD_LIBRARY_PATH=$(EMU_OUT) $(OUT)/tests/run_gpu
	OUT=$(OUT) tests/gpu/program.sh

# For a machine with a GPU where nothing can be installed (tools/gpu-check.sh): they find libraries in lib beside them.
.PHONY: gpu-bundle
BUNDLE    := $(OUT)/bundle
BESIDE    := -s -Wl,--disable-new-dtags -Wl,-rpath,'$$ORIGIN/lib'
gpu-bundle: $(BUNDLE)/stemforge $(BUNDLE)/run_gpu
$(BUNDLE)/stemforge: $(call obj,$(APP_SRC)) $(PARTS)
	@mkdir -p $(@D)
	@echo 'ld  $@'; $(LINK) $(BESIDE) -o $@ $^ $(LIBS)
$(BUNDLE)/run_gpu: $(call obj,$(EMU_SRC)) $(PARTS) $(EMU_OUT)/libcuda.so.1
	@mkdir -p $(@D)
	@echo 'ld  $@'; $(RUN_GPU) $(BESIDE)

# The emulator, its driver and the kernels with the address sanitizer, which then watches device memory.
.PHONY: gpu-asan
gpu-asan: $(OUT)/tests/run_gpu
	@mkdir -p $(EMU_OUT)-asan
	@$(EMU_CXX) -fsanitize=address -w -shared -o $(EMU_OUT)-asan/libcuda.so.1 -x c++ tests/gpu/emu.cpp \
	    tests/gpu/fake_cuda.cpp src/gpu/kern.cu
	for t in kernels draw lstm codec; do LD_PRELOAD=$$($(CXX) -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
	    LD_LIBRARY_PATH=$(EMU_OUT)-asan $(OUT)/tests/run_gpu $$t || exit 1; done

# Faults planted into the kernels, one after another: a test must see each. Minutes.
.PHONY: gpu-mutants
gpu-mutants: $(OUT)/tests/run_gpu
	CXX='$(CXX)' tests/gpu/mutants.sh $(OUT)

# The kept inputs of every fuzz target, with a plain main, under any compiler.
FUZZ_NAME := $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
$(OUT)/tests/replay_%: $(OUT)/tests/fuzz/fuzz_%.o $(OUT)/tests/fuzz/replay.o $(PARTS)
	@echo 'ld  $@'; $(LINK) -o $@ $^ $(LIBS)
corpus: $(FUZZ_NAME:%=$(OUT)/tests/replay_%)
	@for t in $(FUZZ_NAME); do $(OUT)/tests/replay_$$t tests/fuzz/corpus/$$t || exit 1; done

# --- the kernels on AArch64: cross-compiled, run under qemu; the digest of the results must be the one
# that this machine computes. Compiled are the objects that run_kern is linked from, and all of compute.
.PHONY: kern-neon
NEON_OUT  := $(OUT)/neon
NEON_CC   ?= aarch64-linux-gnu-gcc
NEON_QEMU ?= qemu-aarch64
NEON_SRC   = $(sort $(patsubst $(OUT)/%.o,%.c,$(filter $(OUT)/src/%.o,$(shell tr '()' '  ' \
             <$(OUT)/tests/run_kern.linked))) $(filter src/compute/%,$(SRC)) $(KERN_SRC))
$(NEON_OUT)/%.o: %.c
	@mkdir -p $(@D)
	@echo 'cc  $< (aarch64)'; $(NEON_CC) $(CPPFLAGS) $(CFLAGS) $(ALWAYS) -MMD -MP \
	    $(if $(filter %/kern_dotprod.c,$<),$(ARM_DOTPROD)) $(if $(filter %/kern_i8mm.c,$<),$(ARM_I8MM)) -c $< -o $@
kern-neon: $(OUT)/tests/run_kern
	@$(MAKE) --no-print-directory kern-neon-run OUT=$(OUT)
ifneq ($(filter kern-neon-run,$(MAKECMDGOALS)),)
.PHONY: kern-neon-run
$(NEON_OUT)/run_kern: $(NEON_SRC:%.c=$(NEON_OUT)/%.o)
	@echo 'ld  $@'; $(NEON_CC) -static -o $@ $^ -lpthread -lm
kern-neon-run: $(NEON_OUT)/run_kern
	$(NEON_QEMU) $(NEON_OUT)/run_kern >$(NEON_OUT)/out || { cat $(NEON_OUT)/out; exit 1; }
	@cat $(NEON_OUT)/out; $(OUT)/tests/run_kern | grep ^digest >$(NEON_OUT)/want
	@grep ^digest $(NEON_OUT)/out | diff $(NEON_OUT)/want - && echo 'digest equal on both architectures'
endif

# --- `stemforge serve` with one more family of models, which makes a tone; the blob store from the command line
.PHONY: api torture torture-pg fuzz-api bench-load bench-queue
$(OUT)/tests/tone_server: $(call obj,tests/api/tone_server.c $(wildcard src/app/config*.c src/app/serve*.c src/app/usage*.c) src/app/shipped.c) $(TONE) $(PARTS)
	@echo 'ld  $@'; $(LINK) -o $@ $^ $(LIBS)
$(OUT)/tests/blob_tool: $(call obj,tests/api/blob_tool.c) $(PARTS)
	@echo 'ld  $@'; $(LINK) -o $@ $^ $(LIBS)
api:
	tests/api/run-api.sh $(SAN)
torture: $(OUT)/tests/tone_server
	STEMFORGE_OUT=$(abspath $(OUT)) $(PYTHON) tests/api/torture.py --rounds $(or $(ROUNDS),1000)
torture-pg: $(OUT)/tests/tone_server
	STEMFORGE_OUT=$(abspath $(OUT)) $(PYTHON) tests/api/torture_pg.py --rounds $(or $(ROUNDS),1000)
fuzz-api: $(OUT)/tests/tone_server
	tests/api/fuzz-api.sh $(OUT)
bench-load: $(OUT)/tests/tone_server
	STEMFORGE_OUT=$(abspath $(OUT)) $(PYTHON) bench/load.py
bench-queue: $(OUT)/tests/tone_server $(OUT)/tests/queue_tool
	STEMFORGE_OUT=$(abspath $(OUT)) PYTHONPATH=tests/api $(PYTHON) bench/queue.py
$(OUT)/tests/queue_tool: $(call obj,tests/api/queue_tool.c) $(PARTS)
	@echo 'ld  $@'; $(LINK) -o $@ $^ $(LIBS)

# --- searching for inputs that break a parser: clang's libFuzzer and ASan. What is found lies in
# build/fuzz/name; copy what matters to tests/fuzz/corpus/name.
.PHONY: fuzz
T         ?= safetensors
TIME      ?= 60
FUZZ_OUT  := $(OUT)/fuzz
FUZZ_FLAG := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
$(FUZZ_OUT)/%.o: %.c
	@mkdir -p $(@D)
	@echo 'cc  $<'; clang $(CPPFLAGS) $(CFLAGS) $(ALWAYS) $(call isa,$<) $(FUZZ_FLAG) -MMD -MP -c $< -o $@
$(FUZZ_OUT)/parts.a: $(LIB_SRC:%.c=$(FUZZ_OUT)/%.o)
	@rm -f $@; ar rcsT $@ $^
$(FUZZ_OUT)/fuzz_%: $(FUZZ_OUT)/tests/fuzz/fuzz_%.o $(FUZZ_OUT)/parts.a
	@clang -fsanitize=fuzzer,address,undefined -o $@ $^ $(LIBS)
$(FUZZ_OUT)/src/service/api_page.o: $(OUT)/gen/page.h
fuzz: $(FUZZ_OUT)/fuzz_$(T)
	@mkdir -p $(FUZZ_OUT)/$(T)
	$< -max_total_time=$(TIME) -timeout=25 -rss_limit_mb=2048 -print_final_stats=1 \
	    -artifact_prefix=$(FUZZ_OUT)/$(T)- $(FUZZ_OUT)/$(T) tests/fuzz/corpus/$(T)

# --- models, against the reference (tools/requirements.txt, train/requirements.txt)
# ALSO="weights=q8 weights=q4 seed=1 model=DIR" sets variants beside model-eval's, on its first 200 requests.
.PHONY: parity quality model-eval
MODEL ?= models/stemforge-mini
WORK  ?= build/train
N     ?= 1000
parity: $(BIN) $(OUT)/tests/run_unit
	$(PYTHON) $(if $(wildcard $(MODEL)/model_index.json),tools/bigsa.py check,tools/parity.py) $(MODEL)
quality: $(BIN)
	$(PYTHON) tools/quality.py $(MODEL)
model-eval: $(BIN)
	$(PYTHON) train/eval.py --work $(WORK) --model $(MODEL) --n $(N) $(ALSO:%=--also %) \
	    --write docs/MODEL_CARD.md --pictures docs/img

# --- the source
.PHONY: lint format map map-check
lint: $(OUT)/fields $(LINT_PTX)
	@$(PYTHON) tools/lint.py && $(PYTHON) tools/lint_ptx.py $(LINT_PTX) && FIELDS=$(OUT)/fields tools/fields.sh --check
format:
	clang-format -i $$(git ls-files -co --exclude-standard '*.c' '*.h')
map:
	@$(PYTHON) tools/map.py >docs/MAP.md
map-check:
	@$(PYTHON) tools/map.py | diff -u docs/MAP.md - || { echo 'docs/MAP.md is stale: make map'; exit 1; }

# For editors. The last entry has no comma after it.
entry = {"directory": "$(CURDIR)", "file": "$(1)", "command": "$(subst ",\",$(subst \,\\,$(CC) $(COMPILE) \
        $(call isa,$(1)) -c $(1)))"}
compile_commands.json: Makefile FORCE
	$(file >$@,[)$(foreach f,$(SRC),$(file >>$@,$(call entry,$(f))$(if \
	    $(filter $(f),$(lastword $(SRC))),,$(comma))))$(file >>$@,])

# --- what the program says of itself, as files. A cross-compiled one says it under an emulator.
COMMANDS  := $(shell sed -n 's/^    {"\([a-z]*\)", [a-z]*_main,.*/\1/p' src/app/commands.c)
RUN       ?= $(if $(CROSS),qemu-$(ARCH) -L /)
PAGES     := $(OUT)/pages
ZSH_DIR   ?= share/zsh/site-functions
.PHONY: pages
pages: $(PAGES)/made
$(PAGES)/made: $(BIN) tools/pages.sh
	@tools/pages.sh $(PAGES) $(RUN) $(BIN) && touch $@

# --- installing: one list, mode:file:where below PREFIX, for both ways
.PHONY: install uninstall examples FORCE
INSTALLED := 755:$(BIN):bin/stemforge 644:$(ENGINE):lib/libstemforge.a \
    $(foreach h,$(notdir $(wildcard src/*.h)),644:src/$(h):include/$(h)) \
    644:$(OUT)/gen/stemforge.pc:lib/pkgconfig/stemforge.pc \
    644:$(OUT)/gen/stemforge.service:lib/systemd/system/stemforge.service \
    644:packaging/stemforge.sysusers:lib/sysusers.d/stemforge.conf \
    644:$(PAGES)/stemforge.bash:share/bash-completion/completions/stemforge \
    644:$(PAGES)/stemforge.zsh:$(ZSH_DIR)/_stemforge \
    644:$(PAGES)/stemforge.fish:share/fish/vendor_completions.d/stemforge.fish \
    644:$(PAGES)/stemforge.env:share/stemforge/stemforge.env \
    $(foreach p,stemforge $(COMMANDS:%=stemforge-%),644:$(PAGES)/$p.1:share/man/man1/$p.1) \
    644:$(PAGES)/stemforge.env.5:share/man/man5/stemforge.env.5 \
    $(foreach f,$(wildcard models/stemforge-mini/*),644:$(f):share/stemforge/$(f)) \
    $(foreach d,LICENSE README.md CHANGELOG.md $(wildcard docs/*.md),644:$(d):share/doc/stemforge/$(notdir $(d)))
$(OUT)/gen/%: packaging/%.in FORCE
	@mkdir -p $(@D)
	@sed 's|@PREFIX@|$(PREFIX)|g; s|@VERSION@|$(VERSION)|g' $< >$@
install: $(BIN) $(ENGINE) $(PAGES)/made $(OUT)/gen/stemforge.pc $(OUT)/gen/stemforge.service
	@set -e; for f in $(INSTALLED); do file=$${f#*:}; \
	    install -D -m $${f%%:*} "$${file%%:*}" "$(DESTDIR)$(PREFIX)/$${file#*:}"; done
	@echo "installed below $(DESTDIR)$(PREFIX)"
uninstall:
	@for f in $(INSTALLED); do rm -f "$(DESTDIR)$(PREFIX)/$${f##*:}"; done
	@-find "$(DESTDIR)$(PREFIX)"/share/stemforge "$(DESTDIR)$(PREFIX)"/share/doc/stemforge -depth -type d -empty -delete 2>/dev/null
	@echo "removed from $(DESTDIR)$(PREFIX)"

# What packages are made of: the program and the service; the library, its headers and its .pc.
.PHONY: deb dist
DIST      := $(OUT)/dist
deb: $(BIN) $(ENGINE) $(PAGES)/made
	@VERSION=$(VERSION) ARCH=$(ARCH) STRIP=$(CROSS)strip OUT=$(OUT) tools/deb.sh $(DIST)
dist: deb
	@VERSION=$(VERSION) tools/dist.sh $(DIST)

# The programs of examples/ against what install puts down, by pkg-config.
examples:
	@$(MAKE) -s install PREFIX=$(abspath $(OUT)/prefix) DESTDIR=
	@PKG_CONFIG_PATH=$(abspath $(OUT)/prefix/lib/pkgconfig) $(MAKE) -s -C examples OUT=$(abspath $(OUT)/examples)

# --- the rest
.PHONY: clean help
clean:
	rm -rf $(OUT)
help:
	@sed -n '2,/^$$/s/^# \{0,1\}//p' Makefile

.SECONDARY:
-include $(shell find $(OUT) -type f -name '*.d' 2>/dev/null)
