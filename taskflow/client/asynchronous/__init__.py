"""The client on asyncio and Trio. ``taskflow.client.blocking`` is written from these modules.

``native`` has what is different there; all else is changed word by word.
"""
