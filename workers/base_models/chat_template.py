"""Encodes conversations as token ids by the tokenizer's own chat template, for training and for inference alike.

Templates differ in what they take and what they write. Each is tried once with a conversation that is known, which tells whether it has a
system role, what closes an answer, and what it writes before one. `workers/inference/` and `workers/training/` both encode by it, so that
a model is prompted as it was trained.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from schemas.chat import Message, Prompt, fold_system
from workers.base_models.control_tokens import ControlTokens, break_openers
from workers.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATE_DATE = date(2024, 7, 26)
"""What `strftime_now` gives to a template: a prompt is the same on each day, and in training and use. Llama's own fallback is this day."""

_DIRECTIVES = ("%-d", "%-m", "%-y", "%-H", "%-I", "%-M", "%-S", "%-j", *(f"%{letter}" for letter in "aAbBdmyYHIpMSjUwWcxXFTDeGuVZz"))
_SYSTEM, _USER, _ANSWER = "Qsystem", "Quser", "Qanswer"
_OPEN_THOUGHT = re.compile(r"(?:<(?P<name>[\w:]*(?:think|thinking|thought|reasoning))>|(?P<bracket>\[THINK\])|<\|START_THINKING\|>)\s*$")


class UnusableTemplate(UserError):
    """The base model's chat template can't be used."""


class ChatFormat:
    """How one tokenizer writes a conversation.

    `end_ids` are the tokens that close an answer. Where none does, `end_text` is the text that closes it; otherwise it is empty.
    `template` is the source that is rendered, with its date fixed.

    Raises:
        UnusableTemplate: there is no chat template, or it refuses even the plainest conversation.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        source = _source(tokenizer)
        self.template = _with_fixed_date(source)
        # Thinking models answer at once where their template lets us choose; training and inference choose the same.
        self._options: dict[str, Any] = {"enable_thinking": False} if "enable_thinking" in source else {}
        self._as_parts, self._folds_system = self._fitting_form()
        self._merges = not self._renders([Message("user", _USER), Message("user", _USER)])
        prompt, whole = self._known_conversation()
        scaffold = re.split(f"{_SYSTEM}|{_USER}|{_ANSWER}", f"{prompt}{_USER}{whole}")
        self._control = ControlTokens(tokenizer, source, scaffold)
        self._lead, self._before_answer = _openings(prompt, whole)
        self._closing = self._closing_of(whole)
        closing_ids = self._ids(self._closing)
        self._controls_in_closing = self._control.count(closing_ids)
        is_eos = self._closing == tokenizer.eos_token and len(closing_ids) == 1
        self.end_ids = frozenset(number for number in closing_ids if is_eos or number in self._control.ids)
        self.end_text = "" if self.end_ids else self._closing
        if self.end_text:
            self._control = ControlTokens(tokenizer, source, scaffold, self.end_text)
        self._scaffolds: dict[tuple[str, ...], int] = {}

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """Return the token ids of `prompt` up to where the answer begins."""
        return self._harmless(prompt)[1]

    def prompt_text(self, prompt: Prompt) -> str:
        """Return the text of which `prompt_ids` are the ids."""
        return self._prompt_text(self._harmless(prompt)[0])

    def conversation(self, prompt: Prompt) -> list[dict[str, Any]]:
        """Return the turns that `portable_template` writes the same prompt of, in a program that knows nothing of this one."""
        return [self._written(message) for message in self._arranged(self._harmless(prompt)[0])]

    @property
    def portable_template(self) -> str:
        """A template that needs nothing from its caller: options are set in it, and it writes what opens an answer."""
        options = "".join(f"{{%- set {name} = {str(value).lower()} -%}}" for name, value in self._options.items())
        quoted = self._before_answer.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        opening = f"{{% if add_generation_prompt %}}{{{{ '{quoted}' }}}}{{% endif %}}" if quoted else ""
        # Jinja drops one line break at the end of a template; before more of it, it would be written.
        return options + (self.template.removesuffix("\n") if opening else self.template) + opening

    def answer_ids(self, answer: str) -> list[int]:
        """Return the token ids of an answer as it is learnt: with what closes its turn."""
        text = self._control.neutralise(answer.strip())
        ids = self._ids(self._lead + text + self._closing)
        if self._control.count(ids) != self._controls_in_closing:
            ids = self._ids(self._lead + break_openers(text) + self._closing)
        return ids

    def encode_pairs(self, pairs: Sequence[tuple[Prompt, str]]) -> list[tuple[list[int], list[int]]]:
        """Return what `prompt_ids` and `answer_ids` do for each pair of a prompt and its answer, in one call of the tokenizer."""
        texts = [self._prompt_text(self._neutralised(prompt)) for prompt, _ in pairs]
        texts += [self._lead + self._control.neutralise(answer.strip()) + self._closing for _, answer in pairs]
        encoded = self._tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"] if texts else []
        both = []
        for (prompt, answer), asked, answered in zip(pairs, encoded, encoded[len(pairs) :], strict=False):
            is_plain = self._control.count(asked) == self._controls_of_scaffold(prompt)
            ends_once = self._control.count(answered) == self._controls_in_closing
            both.append((asked if is_plain else self.prompt_ids(prompt), answered if ends_once else self.answer_ids(answer)))
        return both

    @property
    def end_of_turn(self) -> str:
        """What closes an answer."""
        return self._closing

    @property
    def ends(self) -> dict[int, str]:
        """The tokens that close an answer, by their ids; empty where none does."""
        return {number: str(self._tokenizer.convert_ids_to_tokens(number)) for number in sorted(self.end_ids)}

    def _harmless(self, prompt: Prompt) -> tuple[Prompt, list[int]]:
        """The prompt in which no tweet writes a control token, and its ids."""
        neutral = self._neutralised(prompt)
        ids = self._ids(self._prompt_text(neutral))
        if self._control.count(ids) == self._controls_of_scaffold(prompt):
            return neutral, ids
        # The tokenizer normalises what it reads, and a string that is no control token became one.
        broken = tuple(Message(message.role, break_openers(message.content)) for message in neutral)
        return broken, self._ids(self._prompt_text(broken))

    def _neutralised(self, prompt: Prompt) -> Prompt:
        return tuple(Message(message.role, self._control.neutralise(message.content)) for message in prompt)

    def _prompt_text(self, prompt: Prompt) -> str:
        return self._render(prompt, for_answer=True) + self._before_answer

    def _ids(self, text: str) -> list[int]:
        # Templates write the beginning of a text themselves: the tokenizer must not put a second one before it.
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _controls_of_scaffold(self, prompt: Prompt) -> int:
        roles = tuple(message.role for message in prompt)
        if roles not in self._scaffolds:
            plain = tuple(Message(message.role, "a") for message in prompt)
            self._scaffolds[roles] = self._control.count(self._ids(self._prompt_text(plain)))
        return self._scaffolds[roles]

    def _render(self, messages: Sequence[Message], *, for_answer: bool = False) -> str:
        """Render a conversation by the template, in the form that it takes.

        Raises:
            UnusableTemplate: it refuses.
        """
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    [self._written(message) for message in self._arranged(messages)],
                    chat_template=self.template,
                    tokenize=False,
                    add_generation_prompt=for_answer,
                    **self._options,
                )
            )
        except Exception as error:  # a template is a program of its author's, which may fail in any way
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UnusableTemplate(
                f"the base model's chat template fails ({reason}): mend its chat_template.jinja, or take another instruct model"
            ) from error

    def _renders(self, messages: Sequence[Message]) -> bool:
        try:
            self._render(messages)
        except UnusableTemplate:
            return False
        return True

    def _written(self, message: Message) -> dict[str, Any]:
        content = [{"type": "text", "text": message.content}] if self._as_parts else message.content
        return {"role": message.role, "content": content}

    def _arranged(self, messages: Sequence[Message]) -> list[Message]:
        """The turns as this template takes them: without a system role its text begins the user's turn; neighbours may have to be one."""
        turns: list[Message] = []
        for message in fold_system(tuple(messages)) if self._folds_system else messages:
            if self._merges and turns and turns[-1].role == message.role:
                turns[-1] = Message(message.role, f"{turns[-1].content}\n\n{message.content}")
            else:
                turns.append(message)
        return turns

    def _fitting_form(self) -> tuple[bool, bool]:
        """Whether contents are lists of parts, and whether the system's text goes into the user's turn: the first that shows both."""
        conversation = [Message("system", _SYSTEM), Message("user", _USER)]
        refusal: UnusableTemplate | None = None
        self._merges = False
        for self._as_parts in (False, True):
            for self._folds_system in (False, True):
                try:
                    shown = self._render(conversation, for_answer=True)
                except UnusableTemplate as error:
                    refusal = error if refusal is None or not self._as_parts else refusal
                    continue
                if _SYSTEM in shown and _USER in shown:
                    return self._as_parts, self._folds_system
        raise refusal or UnusableTemplate("the base model's chat template does not show what the user says: take another instruct model")

    def _known_conversation(self) -> tuple[str, str]:
        """A prompt, and the same with its answer; the second is empty where the template takes no answers."""
        asked = [Message("system", _SYSTEM), Message("user", _USER)]
        prompt = self._render(asked, for_answer=True)
        try:
            whole = self._render([*asked, Message("assistant", _ANSWER)])
        except UnusableTemplate:
            return prompt, ""
        return prompt, whole if _ANSWER in whole else ""

    def _closing_of(self, whole: str) -> str:
        """What closes an answer, up to its first control token; the token that closes a text, where the template says nothing."""
        after = whole.rpartition(_ANSWER)[2]
        end = self._control.first_end(after)
        if end is not None:
            return after[:end]
        if not after.strip() and self._tokenizer.eos_token:
            return str(self._tokenizer.eos_token)
        if not after:
            raise UnusableTemplate(
                "nothing closes an answer: the chat template writes nothing after one, and the tokenizer has no eos_token. Set it in"
                " tokenizer_config.json"
            )
        return after.rstrip() or after


_formats: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[object, ChatFormat]] = WeakKeyDictionary()


def chat_format(tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
    """Return the format of `tokenizer`, whose template is tried once.

    Raises:
        UnusableTemplate: there is no chat template, or it can't be used.
    """
    known = _formats.get(tokenizer)
    if known is None or known[0] != tokenizer.chat_template:
        known = _formats[tokenizer] = (tokenizer.chat_template, ChatFormat(tokenizer))
    return known[1]


def encode(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """Return the token ids of `prompt` up to where the answer begins.

    Raises:
        UnusableTemplate: the tokenizer has no chat template, or one that can't be used.
    """
    return chat_format(tokenizer).prompt_ids(prompt)


def _source(tokenizer: PreTrainedTokenizerBase) -> str:
    if not tokenizer.chat_template:
        raise UnusableTemplate(
            "the base model has no chat template: take the instruct version of this model, an instruction-tuned base such as"
            " SmolLM2-135M-Instruct"
        )
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        raise UnusableTemplate("the base model has several chat templates and none is called default: name one so") from error


def _with_fixed_date(source: str) -> str:
    """The template with a `strftime_now` of its own, which knows one day: what Jinja can't call is written into it as a macro."""
    if "strftime_now" not in source:
        return source
    day = "format"
    for directive in _DIRECTIVES:
        value = TEMPLATE_DATE.strftime(directive).replace("\\", "\\\\").replace("'", "\\'")
        day += f" | replace('{directive}', '{value}')"
    return f"{{%- macro strftime_now(format) -%}}{{{{ {day} | replace('%%', '%') }}}}{{%- endmacro -%}}{source}"


def _openings(prompt: str, whole: str) -> tuple[str, str]:
    """What stands between a prompt and its answer: white space that the answer begins with, and what ends the prompt.

    A thought that a prompt opens is closed and empty: the answer is what is taught and read.
    """
    # Only what follows the user's words counts: some templates put the system's text elsewhere once there is an answer.
    asked = prompt.rpartition(_USER)[2]
    answered = whole.rpartition(_ANSWER)[0].rpartition(_USER)[2]
    between = answered.removeprefix(asked) if answered.startswith(asked) else ""
    lead, opening = ("", between) if between.strip() else (between, "")
    thought = _OPEN_THOUGHT.search(prompt + opening)
    if thought is None:
        return lead, opening
    closer = f"</{thought['name']}>" if thought["name"] else "[/THINK]" if thought["bracket"] else "<|END_THINKING|>"
    return "", opening + ("" if thought.group().endswith("\n") else "\n") + closer + "\n\n"
