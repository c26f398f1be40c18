"""Agents as the pods of an Indexed Job, for one run: made before it, removed after it whatever happens.

`options` is what can be asked for, `manifests` the objects as pure data, `cluster` the API server with its refusals in
our words, `troubles` what pods and events say when agents stay away, `agents` puts them together.
"""
