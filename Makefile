# podnet: `make demo`, then `make test`. Both install what they need (Debian packages as root, the rest in .venv).
# Debian's own, of python3-venv: with its optimizations it takes two thirds of the time of one built without, as pyenv's are. With another: `make clean`, then PYTHON=...
PYTHON ?= /usr/bin/python3
BIN := .venv/bin
PACKAGES := python3-venv runc conmon libnftables1 nftables iproute2 iptables procps util-linux \
	busybox-static docker.io containernetworking-plugins gcc libc6-dev musl-tools

KIND := tests/kind/cluster
KIND_PACKAGES := mmdebstrap procps # and Go, of the version in tests/kind/cluster/src/go.mod

.PHONY: demo test check netns crds bench bench-cni bench-cluster format install packages clean \
	kind-packages kind-up kind-load kind-deploy kind-test kind-down

demo: install ## the article's four modes, each proving itself, in a private host
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/support/enter.py demo/inside.sh

test: install ## every test there is; where no cluster runs, one is made for the last of them and taken down again
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory netns
	@timeout 20 $(KIND)/in kubectl get nodes > /dev/null 2>&1 || { trap $(KIND)/down EXIT; trap 'exit 130' INT TERM; }; \
		$(MAKE) --no-print-directory kind-test

check: install ## format, lint, types, import contracts, unit tests: seconds, no root
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest tests/unit

netns: install ## the kernel does what we meant: root, private network namespaces; where Go is, cnitool and crictl too
	$(BIN)/pytest tests/netns --numprocesses 2 --dist loadfile --no-loadscope-reorder

crds: install ## crds/ from the models; a unit test fails when they differ
	$(BIN)/python -m podnet.api.crd crds

bench: install ## how fast, beside the peers, in interleaved rounds
	$(BIN)/python -m bench

bench-cni: install ## how fast as a CNI plugin, beside Debian's
	$(BIN)/python -m bench --only cni cni-full cni-path counts

bench-cluster: kind-deploy ## what podnet costs a cluster, beside Pods
	@$(KIND)/in $(BIN)/python -m bench.cluster

kind-packages:
	@$(MAKE) --no-print-directory packages PACKAGES="$(PACKAGES) $(KIND_PACKAGES)"

kind-up: kind-packages ## a real kind cluster of three nodes, made or left as it is; nothing of this machine changes
	@$(KIND)/up

kind-load: install kind-up ## operator's and agent's images, built and given to the nodes
	@deploy/images
	@$(KIND)/load podnet/operator:dev podnet/agent:dev

kind-deploy: install kind-up ## podnet as it lies here, installed in the cluster
	@$(KIND)/deploy

kind-test: install kind-packages ## all of it where kubectl sees it: root or docker, makes the cluster if there is none
	$(BIN)/pytest tests/kind

kind-down: ## the cluster is gone, and all that ran in it; its cache stays
	@$(KIND)/down

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: packages .venv/installed $(BIN)/podnet-cni ## what the targets above need

packages:
	@missing=$$(for package in $(PACKAGES); do dpkg-query -W -f '$${db:Status-Abbrev}' $$package 2>/dev/null \
		| grep -q '^ii' || echo $$package; done); \
	if [ -n "$$missing" ]; then \
		echo "installing Debian packages:" $$missing; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
			apt-get install -qq -y --no-install-recommends $$missing > /dev/null; \
	fi

.venv/installed: requirements/dev.txt pyproject.toml
	@echo "installing Python packages into .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip uninstall --quiet --yes setuptools # nothing needs it, and every start would load a part
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(BIN)/podnet-cni: hatch_build.py $(wildcard nodeagent/cni-shim/*) nodeagent/logger/logger.c | .venv/installed
	@$(BIN)/python hatch_build.py $(BIN)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
