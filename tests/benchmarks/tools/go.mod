module invoker.test/benchmarks

go 1.22
