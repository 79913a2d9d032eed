# kmint. `make run` and `make test` need Go and make alone; every other target
# fetches what it needs into .tmp, or says what is missing.

GOARCH ?= arm64
ARCH    = $(if $(filter amd64,$(GOARCH)),x86_64,$(GOARCH))
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# Where the owner deploys to: an environment of samconfig.toml that has a section
# for it, its stack unless STACK names another, and what to import: SEED, a file of
# the owner's.
ENVIRONMENT ?= default

FUZZTIME ?= 20s
TOKEN_FUZZTIME ?= 60s
SOAK ?= 20
SOAK_CHECKS ?= 50000
SOAK_FUZZTIME ?= 10m
SOAK_LOAD ?= 5m

# Tools, in the versions that are known to work.
GOLANGCI_LINT = .tmp/bin/golangci-lint-v2.15.0
GOVULNCHECK   = golang.org/x/vuln/cmd/govulncheck@v1.9.0
SAM_VERSION   = 1.170.0
CHECKED_SAM   = .tmp/venv-sam/bin/sam
CFN_LINT      = .tmp/venv-sam/bin/cfn-lint --regions us-east-1 --template
# To run and deploy, whatever sam the owner has will do.
SAM           = $(or $(wildcard $(CHECKED_SAM)),$(shell command -v sam 2>/dev/null),$(CHECKED_SAM))

# sam would tell its makers about each call.
export SAM_CLI_TELEMETRY = 0

FUNCTIONS = token authorize userinfo discovery deliver rotate preflight
GO_FILES  = $(wildcard functions pkg infra)

.PHONY: help
help:
	@echo 'make run         every endpoint in one process, on http://localhost:3000/'
	@echo 'make test        all tests'
	@echo 'make check       gofmt, vet, golangci-lint, the race detector'
	@echo 'make fuzz        each fuzz target for FUZZTIME (20s), the whole token function for 60s'
	@echo 'make faults      every fault at every call of AWS of every kind of request; clients at'
	@echo '                 work while processes are killed and backends stand still'
	@echo 'make bench       what the functions cost, beside the bars'
	@echo 'make soak        the tests with races in them, SOAK (20) times; SOAK_CHECKS (50000)'
	@echo '                 random histories; the token function fuzzed for SOAK_FUZZTIME (10m);'
	@echo '                 clients at work for SOAK_LOAD (5m)'
	@echo 'make vuln        known vulnerabilities in what we depend on'
	@echo 'make build       the Lambda functions, GOARCH=arm64 or amd64'
	@echo 'make release     zips of the functions in dist, with checksums and bills of materials'
	@echo 'make sam-check   the SAM templates: validate, lint, build'
	@echo 'make sam-local   backends for sam local invoke'
	@echo 'make deploy      build, deploy and import SEED into the stack STACK'

# Not by `go run`, which takes Ctrl-C for a failure, and adds a line to the one that
# says why kmint did not start. make adds one as well, and its status is then 2; to
# see kmint's own, run .tmp/local.
.PHONY: run
run:
	@go build -o .tmp/local ./infra/local
	@exec .tmp/local

# infra/clients is a module of its own, so that the libraries it tries kmint with
# are not dependencies of kmint. Tests start programs that they build, which the
# cache of test results does not see.
.PHONY: test
test:
	@infra/tools/left-out.sh '$(SAM)'
	go test -count=1 ./...
	cd infra/clients && go test -count=1 ./...

.PHONY: check
check: $(GOLANGCI_LINT)
	@files=$$(gofmt -l $(GO_FILES)); if [ -n "$$files" ]; then echo "gofmt would change:"; echo "$$files"; exit 1; fi
	go vet ./...
	$(GOLANGCI_LINT) run ./...
	@if [ -f infra/clients/go.mod ]; then echo 'cd infra/clients && go vet ./...'; cd infra/clients && go vet ./... && "$(abspath $(GOLANGCI_LINT))" run ./...; fi
	go test -race $$(go list ./... | grep -v /infra/sam) # which watches programs that are not built with the detector

.PHONY: lint-tool
lint-tool: $(GOLANGCI_LINT)
$(GOLANGCI_LINT):
	GOBIN="$(CURDIR)/.tmp/bin" go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(subst .tmp/bin/golangci-lint-,,$@)
	mv .tmp/bin/golangci-lint $@

# Left alone, the engine spends most of the time on making inputs small that it finds
# interesting.
FUZZ = go test -run '^$$' -fuzzminimizetime 100x

# FuzzToken has a time of its own: it is the whole token function.
.PHONY: fuzz
fuzz:
	@grep -rlE '^func Fuzz' --include='*_test.go' $(GO_FILES) | while read -r file; do \
		for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$$file"); do \
			time=$(FUZZTIME); if [ "$$target" = FuzzToken ]; then time=$(TOKEN_FUZZTIME); fi; \
			echo "go test -fuzz $$target ./$$(dirname "$$file")"; \
			$(FUZZ) -fuzz "^$$target\$$" -fuzztime "$$time" "./$$(dirname "$$file")" || exit 1; \
		done; \
	done

# Each call of each request and of a rotation, failing in each way; the keys through
# random failures; and clients at work while processes are killed and backends stand
# still. go test ./... runs a sample of it all.
.PHONY: faults
faults:
	go test -count=1 -v ./pkg/keys -run '^TestRotationHoldsItsPromises$$' -rapid.checks 1000
	FAULTS=all LOAD=20s go test -count=1 -v -timeout 20m -run '^Test(Matrix|Load)' ./infra/faults

# For the machine that it runs on.
.PHONY: bench
bench: GOARCH = $(shell go env GOHOSTARCH)
bench:
	@mkdir -p $(FUNCTIONS:%=.tmp/bench/%)
	@$(foreach function,$(FUNCTIONS),$(call bootstrap,$(function),.tmp/bench/$(function)/bootstrap) &&) go build -o .tmp/bench/bench ./infra/bench
	@.tmp/bench/bench .tmp/bench

.PHONY: soak
soak:
	go test -race -count $(SOAK) -timeout 1h -run 'Race|Store|Contract' ./pkg/...
	go test ./infra/property -run '^TestPromises$$' -timeout 0 -rapid.checks $(SOAK_CHECKS)
	go test ./pkg/keys -run '^TestRotationHoldsItsPromises$$' -timeout 0 -rapid.checks $(SOAK_CHECKS)
	LOAD=$(SOAK_LOAD) go test -count=1 -v -timeout 0 -run '^TestLoad' ./infra/faults
	$(FUZZ) -timeout 0 -fuzz '^FuzzToken$$' -fuzztime $(SOAK_FUZZTIME) ./infra/property

.PHONY: vuln
vuln:
	go run $(GOVULNCHECK) ./...

# The functions. No symbol tables and no paths of this machine, so that the same
# commit gives the same bytes; lambda.norpc leaves out a protocol that the
# runtime provided.al2023 does not speak.
.PHONY: build $(FUNCTIONS:%=.tmp/build/%/bootstrap)
build: $(FUNCTIONS:%=.tmp/build/%/bootstrap)

$(FUNCTIONS:%=.tmp/build/%/bootstrap): .tmp/build/%/bootstrap:
	@mkdir -p $(@D)
	$(call bootstrap,$*,$@)

# What is put into somebody's hands: zips, a bill of materials of each, checksums. The
# same commit, by the same Go, gives the same bytes.
CYCLONEDX = .tmp/bin/cyclonedx-gomod-v1.9.0

.PHONY: release
release: $(CYCLONEDX)
	@rm -rf dist .tmp/release
	@mkdir -p $(patsubst functions/%,.tmp/release/%,$(wildcard functions/*))
	@$(foreach function,$(notdir $(wildcard functions/*)),$(call bootstrap,$(function),.tmp/release/$(function)/bootstrap) &&) GOOS= GOARCH= go run ./infra/release .tmp/release dist '$(VERSION)' $(GOARCH) $(CYCLONEDX)
	@cat dist/SHA256SUMS

$(CYCLONEDX):
	GOOS= GOARCH= GOBIN="$(CURDIR)/.tmp/bin" go install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(subst .tmp/bin/cyclonedx-gomod-,,$@)
	mv .tmp/bin/cyclonedx-gomod $@

# Called by `sam build` (BuildMethod: makefile), one target for each function.
.PHONY: build-TokenFunction build-AuthorizeFunction build-UserinfoFunction build-DiscoveryFunction build-DeliverFunction build-RotateFunction build-PreflightFunction
build-TokenFunction:
	$(call published,token)
build-AuthorizeFunction:
	$(call published,authorize)
build-UserinfoFunction:
	$(call published,userinfo)
build-DiscoveryFunction:
	$(call published,discovery)
build-DeliverFunction:
	$(call published,deliver)
build-RotateFunction:
	$(call bootstrap,rotate,$(ARTIFACTS_DIR)/bootstrap)
build-PreflightFunction:
	$(call bootstrap,preflight,$(ARTIFACTS_DIR)/bootstrap)

# SAM publishes a new version of a function where its code has changed, or what the
# template says of it, and not where a parameter has. So a checksum of those in
# samconfig.toml goes with the code.
define published
$(call bootstrap,$(1),$(ARTIFACTS_DIR)/bootstrap)
cksum < samconfig.toml > "$(ARTIFACTS_DIR)/parameters"
endef

define bootstrap
CGO_ENABLED=0 GOOS=linux GOARCH=$(GOARCH) go build -trimpath -buildvcs=false -tags lambda.norpc -ldflags '-s -w -X main.version=$(VERSION)' -o "$(2)" ./functions/$(1)
endef

# SAM. The checks need neither network nor AWS credentials. `sam validate` does
# not run the transform that CloudFormation will, so the last two lines of each
# half do. The second half is the example's.
.PHONY: sam-check
sam-check: $(CHECKED_SAM)
	$(CHECKED_SAM) validate --lint
	$(CFN_LINT) template.yaml infra/*.yaml
	GOARCH=$(GOARCH) $(CHECKED_SAM) build --parameter-overrides Arch=$(ARCH)
	$(CFN_LINT) .aws-sam/build/template.yaml
	.tmp/venv-sam/bin/python infra/tools/transform.py template.yaml > .tmp/transformed.json
	$(CFN_LINT) .tmp/transformed.json
	$(CHECKED_SAM) validate --lint --region us-east-1 --template infra/examples/api/template.yaml
	$(CFN_LINT) infra/examples/api/template.yaml
	GOARCH=$(GOARCH) $(CHECKED_SAM) build --build-in-source --template infra/examples/api/template.yaml --build-dir .tmp/sam-api --parameter-overrides Arch=$(ARCH)
	.tmp/venv-sam/bin/python infra/tools/transform.py infra/examples/api/template.yaml > .tmp/transformed-api.json
	$(CFN_LINT) .tmp/transformed-api.json

# What checkov finds, but for what .checkov.yaml accepts.
.PHONY: checkov
checkov: .tmp/venv-checkov/bin/checkov
	.tmp/venv-checkov/bin/checkov --config-file .checkov.yaml

.tmp/venv-checkov/bin/checkov:
	infra/tools/python.sh .tmp/venv-checkov checkov 3.3.30

.PHONY: sam-local
sam-local: $(SAM)
	@go build -o .tmp/sam-local/backends ./infra/sam
	@exec .tmp/sam-local/backends

$(CHECKED_SAM):
	infra/tools/python.sh .tmp/venv-sam aws-sam-cli $(SAM_VERSION)

# What samconfig.toml says of the environment: its stack, and the processor that
# the template is told of.
section = $(shell awk -v s='[$(ENVIRONMENT).$(1).parameters]' '$$0 == s {f = 1; next} /^\[/ {f = 0} f' samconfig.toml)
DEPLOY_STACK = $(or $(STACK),$(shell echo '$(call section,global)' | sed -n 's/.*stack_name *= *"\([^"]*\)".*/\1/p'))
DEPLOY_ARCH  = $(if $(findstring Arch=x86_64,$(call section,deploy)),x86_64,arm64)

# What is wrong is said before anything is built.
.PHONY: deploy
deploy: deployable $(SAM)
	GOARCH=$(subst x86_64,amd64,$(DEPLOY_ARCH)) $(SAM) build --config-env $(ENVIRONMENT) --parameter-overrides Arch=$(DEPLOY_ARCH)
	$(SAM) deploy --config-env $(ENVIRONMENT) --stack-name $(DEPLOY_STACK)
	go run ./infra/kmint import --stack $(DEPLOY_STACK)$(if $(SEED), --seed $(SEED))

.PHONY: deployable
deployable:
	@if ! grep -qxF '[$(ENVIRONMENT).deploy.parameters]' samconfig.toml; then \
		echo 'samconfig.toml has no [$(ENVIRONMENT).deploy.parameters]; ENVIRONMENT can be '"$$(sed -n 's/^\[\(.*\)\.deploy\.parameters\]$$/\1/p' samconfig.toml | paste -sd, - | sed 's/,/, /g')" >&2; \
		exit 1; \
	fi
	@if [ -z '$(DEPLOY_STACK)' ]; then echo 'samconfig.toml names no stack_name in [$(ENVIRONMENT).global.parameters]; write one there, or name the STACK' >&2; exit 1; fi
	@$(if $(SEED),go run ./infra/kmint check --seed $(SEED))
