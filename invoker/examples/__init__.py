"""◇ Actions to try: `invoker action put guest/hello invoker/examples/hello.py`. The tour puts them all."""
