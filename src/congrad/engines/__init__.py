"""Engines that write text: transformers in this process, or an endpoint over HTTP; and how every stage asks them."""
