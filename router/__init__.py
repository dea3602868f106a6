"""The router: splits live traffic, mirrors it to shadows and compares what the versions said."""
