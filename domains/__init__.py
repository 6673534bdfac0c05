"""Domains that run: the vCPU on Unicorn, image loading and building, the domain actor."""
