"""The world as the controller meets it: each module implements one port of `controller.ports`."""
