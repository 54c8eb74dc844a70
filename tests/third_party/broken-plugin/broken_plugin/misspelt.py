from harness import hookimpl


@hookimpl
def harness_metrcs():
    return []
