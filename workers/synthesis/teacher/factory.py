"""Makes the client of the teacher that a recipe names."""

from __future__ import annotations

from schemas.synthesis import TeacherSource
from workers.errors import SettingsError
from workers.inference.remote.access import key_for
from workers.settings import get_settings
from workers.synthesis.teacher.clients import LocalTeacher, ServerTeacher, Teacher


def teacher_of(source: TeacherSource) -> Teacher:
    """Return the teacher of a recipe.

    Raises:
        SettingsError: nobody says where it is, or the environment's address is none.
    """
    if source.engine == "local":
        return LocalTeacher(source)
    base_url = source.base_url or get_settings().openai_address()
    if base_url is None:
        raise SettingsError("the teacher has no address: give teacher.base_url, or set OPENAI_BASE_URL where the worker runs")
    return ServerTeacher(source, base_url, key_for(base_url))
