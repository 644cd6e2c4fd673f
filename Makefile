# Makefile - builds everything; no configure step. `make help` lists the targets.
#
#   make                     build/stemforge and build/libstemforge.a
#   make test                unit tests, kernels at every instruction set, fuzz corpora
#   make test SAN=address,undefined | SAN=thread
CC      ?= cc
SAN     ?=
comma   := ,
OUT     := build$(if $(SAN),/san-$(firstword $(subst $(comma), ,$(SAN))))
VERSION := 0.1.0
PREFIX  ?= /usr/local

WARN     = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion \
           -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
CFLAGS  := -std=c17 -O2 -g -fno-omit-frame-pointer -ffp-contract=off -D_POSIX_C_SOURCE=200809L \
           -D_DEFAULT_SOURCE -DSTEMFORGE_VERSION='"$(VERSION)"' -Isrc -I$(OUT)/gen -MMD -MP $(WARN) \
           $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all)
LIBS    := -lmicrohttpd -lcurl -ljansson -lcrypto -lsqlite3 -lsndfile -lpthread -lm
LDFLAGS := $(if $(SAN),-fsanitize=$(SAN))

SRC      := $(sort $(wildcard src/*/*.c))
APP_SRC  := $(filter src/app/%,$(SRC))
LIB_SRC  := $(filter-out src/app/%,$(SRC))
obj       = $(patsubst %.c,$(OUT)/%.o,$(1))
LIB      := $(OUT)/libstemforge.a
BIN      := $(OUT)/stemforge

.PHONY: all test unit kern lint format install clean help
all: $(BIN)

$(OUT)/%.o: %.c
	@mkdir -p $(@D)
	@echo 'cc  $<'; $(CC) $(CFLAGS) $(ISA_FLAGS) -c $< -o $@

# Only these files may contain instructions beyond the baseline CPU.
$(OUT)/src/compute/kern_avx2.o:   ISA_FLAGS := -mavx2 -mfma -mf16c
$(OUT)/src/compute/kern_avx512.o: ISA_FLAGS := -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c

$(LIB): $(call obj,$(LIB_SRC))
	@rm -f $@; echo 'ar  $@'; ar rcs $@ $^

$(BIN): $(call obj,$(APP_SRC)) $(LIB)
	@echo 'ld  $@'; $(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# Unit tests: one file a module, one runner.
UNIT_SRC := $(sort $(wildcard tests/unit/*.c))
$(OUT)/tests/run_unit: $(call obj,$(UNIT_SRC)) $(LIB)
	@echo 'ld  $@'; $(CC) $(LDFLAGS) -o $@ $^ -lcriterion $(LIBS)
unit: $(OUT)/tests/run_unit
	$(OUT)/tests/run_unit

KERN_SRC := $(sort $(wildcard tests/kern/*.c))
$(OUT)/tests/run_kern: $(call obj,$(KERN_SRC)) $(LIB)
	@echo 'ld  $@'; $(CC) $(LDFLAGS) -o $@ $^ $(LIBS)
kern: $(OUT)/tests/run_kern
	$(OUT)/tests/run_kern

test: unit kern

lint:
	@tools/lint.sh

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

clean:
	rm -rf build

help:
	@sed -n 's/^#   //p' Makefile

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
