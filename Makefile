# What a person types. Each target is a part of .ci/run, which CI calls in the same way.
.DEFAULT_GOAL := help
.PHONY: help setup check test test-cluster cluster cluster-down cluster-demo demo bench bench-operator golden lock images clean ci

help:          ## this list
	@awk -F ': *## ' '/^[a-z-]+: *## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

setup:         ## the virtual environment in .venv, from the lock
	@.ci/run setup

check:         ## format, lint, types, layers, scripts
	@.ci/run check

test:          ## check, then every test that this machine can run (ARGS="-k tls -x" to choose)
	@.ci/run test

test-cluster:  ## the tests that need Kubernetes, on the first cluster that can be had here
	@.ci/run test-cluster

cluster:       ## have a local Kubernetes; prints its kubeconfig (root; the first time takes minutes)
	@.ci/run cluster

cluster-down:  ## end it and leave nothing
	@.ci/run cluster-down

cluster-demo:  ## operator, fleet and one mail on a Kubernetes of its own (kind, or root), gone afterwards
	@.ci/run cluster-demo

demo:          ## sandbox, gateway and one mail on this machine (ONCE=1 ends by itself)
	@.ci/run demo

bench:         ## what one mail costs (QUICK=1 for a first figure)
	@.ci/run bench

bench-operator: ## what a thousand fleets cost the operator (COUNT=100 for fewer; root)
	@.ci/run bench-operator

golden:        ## rewrite the expected requests of tests/golden from what the code does now
	@.ci/run golden

lock:          ## write requirements/*.txt from pyproject.toml (UPGRADE=1 for newest versions)
	@.ci/run lock

images:        ## the container images of gateway, operator and sandbox (TAG=0.1.0)
	@.ci/run images

clean:         ## remove what the other targets made
	@.ci/run clean

ci:            ## everything that a merge needs
	@.ci/run
