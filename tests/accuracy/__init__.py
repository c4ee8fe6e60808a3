"""The accuracy of the recipes on public data: trained and measured by `run`, written down in docs/accuracy.md."""
