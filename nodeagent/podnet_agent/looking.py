"""The look at the kernel that a question asks for. Lives in the reader thread."""

from podnet.errors import Retryable
from podnet.objects import Observed
from podnet_agent.agent import Question
from podnet_agent.forward import Forward
from podnet_agent.nft import Table
from podnet_agent.observe import observe
from podnet_agent.shortcuts import Shortcuts


class Looker:
    """Answers questions. What belongs to a thread is made at the first one, in the reader."""

    def __init__(self) -> None:
        self._others: tuple[Table, Forward, Shortcuts] | None = None
        self._links: dict[int, str] = {}

    def __call__(self, question: Question) -> Observed:
        """Links, addresses, routes, settings, namespaces, the table, foreign chains, shortcuts.

        PodNetError where the kernel does not answer.
        """
        if self._others is None:
            self._others = Table(), Forward(), Shortcuts()
        try:
            observed = observe(
                question.wanted,
                question.newest,
                question.sysctls,
                question.namespaces,
                others=(other.listing() for other in self._others),
                known=self._links,
                borrowed=question.borrowed,
            )
        except OSError as error:  # no file descriptor, no memory
            raise Retryable(f"the kernel can't be read: {error}") from error
        self._links = {
            seen.ifindex: name
            for (kind, _, name), seen in observed.seen.items()
            if kind == "link" and seen.ours and seen.ifindex is not None
        }
        return observed
