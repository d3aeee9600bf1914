"""The server of ``taskflow mcp``: tools for agents, by the Model Context Protocol.

From the bottom up::

    tool            what a tool is: its declaration, its schemas, its arguments
    outputs         what tools return, and the bounds of its size
    task_arguments  the arguments and the results of the tools for tasks
    task_tools, failures, queue_tools, schedule_tools
                    the tools; each calls the service by the client
    toolbox         all tools, and which of them a caller may use
    binding         the address to listen on, and who can reach it
    sdk/            the tools as a server of the MCP SDK, and its transports

Only ``sdk`` imports the SDK, which needs AnyIO 4.
"""
