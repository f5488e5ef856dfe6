# The pool gateway for BuildKit.  `make help` lists the targets.
#
# BUILD=DIR      where everything is built (default: build)
# SAN=LIST       sanitizers, e.g. SAN=address,undefined (use another BUILD)
# NGINX_SRC=DIR  nginx source tree to build the module against
#                (default: the headers of Debian's package nginx-dev)

BUILD     ?= build
SAN       ?=
NGINX_SRC ?= /usr/share/nginx/src
PREFIX    ?= /usr
DESTDIR   ?=

ROOT      := $(CURDIR)
override BUILD := $(abspath $(BUILD))

SAN_FLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)

export BUILD SAN SAN_FLAGS PREFIX DESTDIR

.PHONY: all module host entry clean help deps lab demo up down test fuzz soak \
        bench install

all: module host entry

help:
	@sed -n 's/^\([a-z-]*\):.*## */  make \1@/p' Makefile | column -t -s @

# --- nginx module ---------------------------------------------------------

MODULE      := $(BUILD)/ngx_stream_buildkit_module.so
MODULE_SRCS := $(wildcard ngx_buildkit_module/*.[ch]) config \
               plugin-host/include/bk_lookup.h \
               plugin-host/include/bk_names.h \
               plugin-host/include/bk_report.h \
               plugin-host/include/bk_table.h \
               plugin-host/include/bk_table_read.h

NGX_CC_OPT  := -g -O2 -fPIC -Wextra -Wno-unused-parameter \
               -Wno-missing-field-initializers -Werror \
               -fstack-protector-strong -D_FORTIFY_SOURCE=2 $(SAN_FLAGS)

module: $(MODULE) ## build the nginx module

$(MODULE): $(MODULE_SRCS)
	@tools/build-module "$(NGINX_SRC)" "$(BUILD)" "$(NGX_CC_OPT)" \
	    "$(SAN_FLAGS)"

# --- plugin-host, plugins, bkctl ------------------------------------------

host: ## build buildkit-plugin-host, its plugins and bkctl
	@$(MAKE) --no-print-directory -C plugin-host

# --- the images -----------------------------------------------------------

ENTRY      := $(BUILD)/buildkit-gateway
ENTRY_SRCS := $(wildcard docker/entry/*.c)

entry: $(ENTRY) ## build the first program of the gateway's image (docker/)

$(ENTRY): $(ENTRY_SRCS) docker/entry/entry.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Wshadow \
	    -Wstrict-prototypes -Wmissing-prototypes -Werror -O2 -g \
	    -fstack-protector-strong -D_FORTIFY_SOURCE=2 $(SAN_FLAGS) \
	    -Wl,-z,relro,-z,now -o $@ $(ENTRY_SRCS)

clean: ## remove what was built
	rm -rf "$(BUILD)"

# --- what people run ------------------------------------------------------

deps: ## install the Debian packages that the build needs
	@tools/deps build

lab: ## get buildkitd, buildctl and buildx (built once, cached)
	@tools/lab buildkit buildx

demo: ## build a real image through the gateway, on this machine
	@tools/demo demo

up: ## as demo, but leave the gateway running
	@tools/demo up

down: ## stop what `make up` started
	@tools/demo down

test: ## install what the tests need and run them all
	@tools/test

fuzz: ## run the fuzz targets, 20 s each
	@tools/fuzz

soak: ## everything at once, for ten minutes (DURATION=600)
	@tools/soak

bench: ## measure against stock nginx and HAProxy
	@tools/bench

# --- installation ---------------------------------------------------------

install: all ## install into DESTDIR and PREFIX (/usr)
	@tools/install "$(BUILD)" "$(DESTDIR)" "$(PREFIX)"
