#!/bin/sh
# Kafka's tool for users and topics' settings, at the place where the official image has it.
exec /opt/jre/bin/java -cp '/opt/kafka/libs/*' org.apache.kafka.tools.ConfigCommand "$@"
