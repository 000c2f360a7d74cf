import pytest
from cinema import Cinema


@pytest.fixture
def cinema():
    made: list[Cinema] = []

    def make(*args, **more) -> Cinema:
        made.append(Cinema(*args, **more))
        return made[-1]

    yield make
    for each in made:
        each.leave()
        assert each.clock.getDelayedCalls() == []
