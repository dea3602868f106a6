"""Leader election on a real API server: the Lease as Kubernetes validates it, and take-over within its times."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from controller.adapters.kubernetes.api import Api, Settings
from controller.adapters.kubernetes.leases import Elector, Timing
from headgate.log import Log
from tests.cluster.testbed.cluster import Testbed

SHORT = Timing(duration_s=9.0, renew_deadline_s=7.0, retry_s=1.5)
LONG = Timing(duration_s=25.0, renew_deadline_s=20.0, retry_s=3.0)
"""Not lost because the machine is busy."""

PATIENT_S = 90.0

Story = Callable[[Callable[[str], Elector]], Awaitable[None]]


def act(cluster: Testbed, namespace: str, timing: Timing, story: Story) -> None:
    async def go() -> None:
        api = Api.connect(Settings(kubeconfig=str(cluster.kubeconfig(namespace=namespace))))
        electors: list[Elector] = []

        def elector(identity: str) -> Elector:
            electors.append(Elector(api, "headgate", Log(identity), identity=identity, timing=timing))
            return electors[-1]

        try:
            async with asyncio.timeout(PATIENT_S):
                await story(elector)
        finally:
            for each in electors:
                await each.close()
            await api.close()

    asyncio.run(go())


def lease(cluster: Testbed, namespace: str, field: str) -> str:
    """A field of its spec, "" if there is no lease."""
    output = f"--output=jsonpath={{.spec.{field}}}"
    return cluster.kubectl("get", "lease", "headgate", f"--namespace={namespace}", output, check=False).stdout


def test_a_leader_renews_gives_up_and_is_succeeded(cluster: Testbed, namespace: str) -> None:
    async def story(elector: Callable[[str], Elector]) -> None:
        first, second, lost = elector("a"), elector("b"), []
        transitions = await first.acquire()
        leading = asyncio.create_task(first.lead(lost.append))
        campaign = asyncio.create_task(second.acquire())
        renewals: set[str] = set()
        while len(renewals) < 4:
            renewals.add(await asyncio.to_thread(lease, cluster, namespace, "renewTime"))
            assert not campaign.done()
            assert not lost
        leading.cancel()
        await first.release()
        assert await campaign == transitions + 1
        holder, duration = (
            lease(cluster, namespace, field) for field in ("holderIdentity", "leaseDurationSeconds")
        )
        assert (holder, duration) == ("b", "25")

    act(cluster, namespace, LONG, story)


def test_a_leader_that_vanished_is_succeeded_when_its_lease_has_expired(
    cluster: Testbed, namespace: str
) -> None:
    async def story(elector: Callable[[str], Elector]) -> None:
        first, second = elector("a"), elector("b")
        await first.acquire()
        await first.close()  # and says nothing to the server, as after SIGKILL
        began = time.monotonic()
        assert await second.acquire() == 2
        assert time.monotonic() - began >= SHORT.renew_deadline_s
        assert lease(cluster, namespace, "leaseTransitions") == "2"

    act(cluster, namespace, SHORT, story)


def test_a_lease_that_is_deleted_goes_to_whoever_held_it(cluster: Testbed, namespace: str) -> None:
    async def story(elector: Callable[[str], Elector]) -> None:
        first, second, lost = elector("a"), elector("b"), []
        await first.acquire()
        leading = asyncio.create_task(first.lead(lost.append))
        campaign = asyncio.create_task(second.acquire())
        while second.holder != "a":
            await asyncio.sleep(0.05)
        await asyncio.to_thread(
            cluster.kubectl, "delete", "lease", "headgate", f"--namespace={namespace}", "--wait=false"
        )
        while (holder := await asyncio.to_thread(lease, cluster, namespace, "holderIdentity")) == "":
            await asyncio.sleep(0.1)
        assert holder == "a"
        assert not lost
        assert not campaign.done()
        leading.cancel()
        campaign.cancel()

    act(cluster, namespace, LONG, story)
