"""◆ Kafka: the invoker's topic, the acknowledgements, the health pings."""
