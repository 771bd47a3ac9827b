# recharged: `make help` lists what there is.

GO      ?= go
DATA    ?= data
ARGS    ?=
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -X main.version=$(VERSION)
BIN      = bin/recharged
CLIENTS  = bench/clients

.PHONY: help build run demo test race check fuzz bench bench-rules bench-backtest clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' Makefile

build: ## the program, as bin/recharged
	@$(GO) build -buildvcs=auto -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/recharged

run: build ## serve on 127.0.0.1:8080 with the sample rulebook; data in ./data (ARGS='--listen …')
	@exec $(BIN) serve --data $(DATA) $(ARGS)

demo: build ## serve with a visible stream of synthetic traffic
	@exec $(BIN) serve --data $(DATA) --demo $(ARGS)

test: $(CLIENTS)/node_modules ## every test; installs what they need
	$(GO) test -timeout 20m ./...

race: $(CLIENTS)/node_modules ## every test under the race detector
	$(GO) test -race -timeout 40m ./...

check: ## formatting, vet, staticcheck, a tidy module
	@test -z "$$(gofmt -l cmd stream rules state bench)" || { gofmt -l cmd stream rules state bench; echo 'run gofmt -w on these'; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff

fuzz: ## each fuzz target for FUZZTIME (10s)
	@$(GO) list ./... | while read -r pkg; do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(or $(FUZZTIME),10s) $$pkg || exit 1; \
	  done; done

bench: ## the load table of bench/README.md, measured here and now
	$(GO) run ./bench/load $(ARGS)

bench-rules: ## the cost of an event by the number of rules, beside asking them one by one
	$(GO) run ./bench/rules $(ARGS)

bench-backtest: ## how fast a rulebook is tried on history, and what that does to live latency
	$(GO) run ./bench/backtest $(ARGS)

clean: ## what was built and installed; not ./data
	rm -rf bin $(CLIENTS)/node_modules

# The test in another language than Go needs its npm packages, pinned by the lock file.
$(CLIENTS)/node_modules: $(CLIENTS)/package-lock.json
	cd $(CLIENTS) && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@
