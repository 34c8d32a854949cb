"""Jobs that run at the same moment."""

import threading


def run_together(jobs):
    """Run the jobs at the same moment, each in a thread of its own; whatever they raise is raised here."""
    start, failures = threading.Barrier(len(jobs)), []

    def run(job):
        try:
            start.wait(timeout=60)
            job()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
