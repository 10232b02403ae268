#!/bin/sh
# A real Apache Kafka on loopback for development, in a temporary directory; Ctrl-C stops it and removes everything.
#   deploy/kafka/local.sh                one broker
#   deploy/kafka/local.sh --brokers 3    a cluster, replication 3, min.insync 2
# Needs Java 17 or newer; Maven only the first time, for the jars (deploy/kafka/pom.xml).
cd "$(dirname "$0")/../.." || exit 1
exec .venv/bin/python -m tests.services.kafka "$@"
