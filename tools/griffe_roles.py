"""Turns Sphinx roles in docstrings, as in SB3's, into links of the documentation site."""

from __future__ import annotations

import re
from typing import Any

import griffe

# :class:`~package.module.Name`, :meth:`name`, :meth:`Title <package.module.Name.name>`
_ROLE = re.compile(r":(?:class|meth|func|mod|attr):`(?:([^`<]+) <)?(~?)([\w.]+)>?`")


class SphinxRoles(griffe.Extension):
    """Rewrites each docstring as it is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """
        :param obj: The class, function or module that was read
        """
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(
                lambda match: self._link(obj, *match.groups()), obj.docstring.value
            )

    @staticmethod
    def _link(obj: griffe.Object, title: str | None, shortened: str, name: str) -> str:
        path = name
        if "." not in name:  # a neighbour: in the same class, or in the same module
            scope = obj if obj.is_class and name in obj.members else obj.parent
            while scope is not None and name not in scope.members:
                scope = scope.parent
            if scope is None:
                return f"`{name}`"
            member = scope.members[name]
            path = member.target_path if isinstance(member, griffe.Alias) else member.path
        shown = title or (name.rpartition(".")[2] if shortened else name)
        return f"[`{shown}`][{path}]"
