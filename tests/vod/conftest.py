import pytest
from vod_rig import VodRig


@pytest.fixture
def make_rig():
    made: list[VodRig] = []

    def make(*args, **more) -> VodRig:
        made.append(VodRig(*args, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()
        assert each.clock.getDelayedCalls() == []
