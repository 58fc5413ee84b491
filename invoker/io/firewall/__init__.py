"""◆ The firewall: the rules of `invoker.firewall` written into the kernel, and containers behind them."""
