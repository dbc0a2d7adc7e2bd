# Entry points. Each target does its own set-up; all output is in build/.
SHELL := /bin/bash
.NOTPARALLEL:
.PHONY: help build test demo test-dev fuzz install format clean
PREFIX ?= /usr/local
SECONDS ?= 60

help:
	@echo 'make build             compile build/release/metal-marlin'
	@echo 'make test              compile and run every test'
	@echo 'make demo              build, measure minnow, write a report; DEMO=--smollm2 downloads a larger model and adds it'
	@echo 'make test-dev          every test under AddressSanitizer and UBSan, warnings are errors'
	@echo 'make fuzz              every fuzz target for SECONDS=60; TARGET=gguf runs one'
	@echo 'make install PREFIX=P  install into P (default /usr/local; DESTDIR is honoured)'
	@echo 'make format            clang-format all sources'
	@echo 'make clean             delete build/'

build:
	@tools/bootstrap.sh
	@cmake --preset release --log-level=NOTICE
	@cmake --build --preset release --target metal-marlin

test:
	@tools/bootstrap.sh --test
	@tools/compile_cuda.sh
	@cmake --preset release --log-level=NOTICE
	@cmake --build --preset release
	@python3 tools/run_tests.py build/release

demo:
	@tools/bootstrap.sh
	@cmake --preset release --log-level=NOTICE
	@cmake --build --preset release --target metal-marlin
	@tools/demo.sh $(DEMO)

test-dev:
	@tools/bootstrap.sh
	@cmake --preset dev --log-level=NOTICE
	@cmake --build --preset dev
	@python3 tools/run_tests.py build/dev

fuzz:
	@tools/bootstrap.sh --fuzz
	@cmake --preset fuzz --log-level=NOTICE
	@cmake --build --preset fuzz --target $(if $(TARGET),$(addprefix fuzz_,$(TARGET)),fuzz)
	@tools/fuzz.sh $(SECONDS) $(TARGET)

install: build
	@cmake --install build/release --prefix '$(PREFIX)'

format:
	@find src tests fuzz -name '*.h' -o -name '*.cc' -o -name '*.inc' | xargs clang-format -i

clean:
	@rm -rf build
