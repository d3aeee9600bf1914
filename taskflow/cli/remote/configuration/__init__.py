"""``taskflow config``: the resources of the service in a file.

::

    declaration  the declaration of the file, and its reader
    yaml_text    YAML, with limits
    variables    references to variables of the environment
    json_values  values of YAML that JSON does not have
    resources    what each section of the file names, and how it is compared and sent
    plan         what a file would change
    commands     validate, plan, apply, export, schema
"""
