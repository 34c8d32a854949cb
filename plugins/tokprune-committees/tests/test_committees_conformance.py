"""Every law of the kit, for everything that this distribution registers."""

from tokprune.testing import conformance_test

test_conformance = conformance_test("tokprune-committees")
