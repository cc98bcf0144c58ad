"""What a server's errors mean: an empty account, a wrong key, a field that it does not take, a prompt that it refuses; its own words."""

from __future__ import annotations

import json

import pytest

from schemas.chat import Message, fold_system
from workers.inference.remote.dialect import Feature, spoken_of
from workers.inference.remote.error_reading import Complaint, complaint
from workers.inference.remote.errors import AccountEmpty, NoSuchModel, PromptError, Refusal, refused

TWEET = "omg the night ferry to Bodø was late AGAIN smh, out of credits too"


def found(status: int, error: object, tweet: str = TWEET) -> Complaint:
    return complaint(status, error.encode() if isinstance(error, str) else json.dumps(error).encode(), [tweet])


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (402, {"error": {"message": "Insufficient credits.", "code": 402}}),
        (402, ""),
        (429, {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}}),
        (429, {"error": {"message": "You exceeded your current quota, please check your plan"}}),
        (403, {"error": {"message": "The account has no quota for this model"}}),
        (403, {"message": "Please enable billing"}),
        (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API"}}),
        (400, {"error": {"code": "billing_hard_limit_reached", "message": "Billing hard limit has been reached"}}),
        (429, {"error": {"message": "Your account is not active", "code": "billing_not_active"}}),
        (400, {"error": {"code": "Arrearage", "message": "Access denied"}}),
        (402, {"detail": "Insufficient Balance"}),
        (429, {"error": "budget exceeded for this key"}),
    ],
)
def test_an_account_without_money_or_allowance_is_told_apart(status: int, error: object) -> None:
    raised = refused(found(status, error), "big", "tried at host")
    assert isinstance(raised, AccountEmpty)
    assert "used up" in str(raised)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (
            429,
            {"error": {"message": "Rate limit reached for gpt in organization on tokens per min. Visit /account/billing to add credits"}},
        ),
        (429, {"error": {"message": "You exceeded your current quota. Please retry in 32s"}}),
        (429, "slow down"),
        (400, {"error": {"message": "Unsupported parameter"}}),
        (401, {"error": {"message": "Incorrect API key provided"}}),
        (400, {"error": {"message": f"bad prompt: {TWEET}"}}),
        (403, {"error": {"message": "Your input was flagged by moderation, spending nothing"}}),
    ],
)
def test_what_passes_or_has_another_cause_is_no_empty_account(status: int, error: object) -> None:
    assert not found(status, error).is_account


@pytest.mark.parametrize(
    ("status", "error", "kind", "told"),
    [
        (
            401,
            {"error": {"message": "Incorrect API key"}},
            Refusal,
            "OPENAI_API_KEY to one that may use 'big'; it says \"Incorrect API key\"",
        ),
        (403, {"error": {"message": "not in your region"}}, Refusal, "the key may not use 'big' here (403)"),
        (403, "<html><body>Cloudflare</body></html>", Refusal, "the server or a proxy before it refuses requests (403; tried at host)"),
        (407, "<html><body>Who are you?</body></html>", Refusal, "the server or a proxy before it refuses requests (407; tried at host)"),
        (
            400,
            [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT"}}],
            Refusal,
            'lets this key do nothing (400): it says "API key not valid. Please pass a valid API key."',
        ),
        (400, {"error": {"message": "Please renew the API key."}}, Refusal, "lets this key do nothing (400)"),
        (400, {"error": {"message": "odd", "code": "invalid_api_key"}}, Refusal, "lets this key do nothing (400)"),
        (400, {"error": {"message": "User location is not supported for the API use."}}, Refusal, "User location is not supported"),
        (400, {"error": {"message": "Authentication Error, invalid proxy server token passed"}}, Refusal, "lets this key do nothing (400)"),
        (400, {"error": {"message": "The model `big` does not exist"}}, NoSuchModel, "no model 'big' or no chat completions here (400;"),
        (400, {"error": {"message": "big is not a valid model ID"}}, NoSuchModel, "no model 'big' or no chat completions here (400;"),
        (
            400,
            {"error": {"message": "odd", "code": "model_decommissioned"}},
            NoSuchModel,
            "no model 'big' or no chat completions here (400;",
        ),
        (400, {"error": {"message": "This model does not support tools"}}, PromptError, "This model does not support tools"),
        (400, {"error": {"message": "This organization has been disabled."}}, Refusal, "lets this key do nothing (400)"),
        (
            404,
            {"error": {"message": "no such model"}},
            NoSuchModel,
            "no model 'big' or no chat completions here (404; tried at host): it says \"no such model\"",
        ),
        (400, {"error": {"message": "maximum context length is 4096"}}, PromptError, "longer than the model's context (400)"),
        (413, "", PromptError, "longer than the model's context (413): it gives no reason"),
        (400, {"error": {"message": "odd", "code": "content_filter"}}, PromptError, "filter of contents"),
        (400, {"error": {"message": "Something else"}}, PromptError, 'refuses this prompt (400): it says "Something else"'),
        (422, {"detail": [{"loc": ["body", "top_p"], "msg": "too small"}]}, PromptError, "top_p: too small"),
        (400, [{"error": {"message": "in a list"}}], PromptError, "in a list"),
        (418, "plain words", PromptError, "plain words"),
    ],
)
def test_each_refusal_is_told_in_the_server_s_words_and_without_a_guess(
    status: int, error: object, kind: type[Exception], told: str
) -> None:
    refusal = refused(found(status, error), "big", "tried at host")
    assert type(refusal) is kind
    assert told in str(refusal)
    assert ("context" in str(refusal)) == ("context" in told)


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Rate limit reached on tokens per day. Please try again in 15m50.4s. Upgrade today", 950.4),
        ("Please retry in 1.3s.", 1.3),
        ("Try again in 250ms", 0.25),
        ("try again in 2 minutes", 120.0),
        ("retry after 1h 2min 3 sec", 3723.0),
        ("wait before trying again", None),
        ("try again later", None),
        ("try again in spring", None),
    ],
)
def test_a_wait_that_stands_in_the_words_is_read(words: str, seconds: float | None) -> None:
    assert found(429, {"error": {"message": words}}).rest == seconds


def test_what_stands_behind_the_cut_is_read_as_well() -> None:
    error = found(429, {"error": {"message": "You exceeded your current quota" + ", as is written there" * 20 + ". Please retry in 30s"}})
    assert not error.is_account
    assert error.rest == 30


def test_words_are_cut_on_one_line_and_show_their_controls() -> None:
    words = found(400, {"error": {"message": "a\nb\x1b[31m\u202e" + "long " * 200}}).quoted
    assert words.startswith('it says "a b\\x1b[31m\\u202e')
    assert len(words) < 260


@pytest.mark.parametrize(
    "said",
    [f"too long: {TWEET}", f'cannot take "{TWEET.upper()}"', f"cannot take {TWEET[10:40]}…", json.dumps(["x", TWEET], ensure_ascii=False)],
)
def test_what_is_quoted_of_a_tweet_is_not_shown(said: str) -> None:
    words = found(400, {"error": {"message": said}}).words.lower()
    assert "…" in words
    for part in ("night ferry", "was late", "smh"):
        assert part not in words


def test_a_short_tweet_is_not_shown_either() -> None:
    assert "luv it" not in found(400, {"error": {"message": "cannot take: luv it"}}, "luv it").words


ALL = frozenset({Feature.MAX_TOKENS, Feature.TEMPERATURE, Feature.SCHEMA, Feature.SEVERAL, Feature.SEED, Feature.SYSTEM, Feature.WHOLE})


@pytest.mark.parametrize(
    ("status", "error", "feature"),
    [
        (
            400,
            {"message": "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."},
            Feature.MAX_TOKENS,
        ),
        (400, {"message": "Unsupported value", "param": "temperature"}, Feature.TEMPERATURE),
        (400, {"message": "`temperature` is deprecated for this model."}, Feature.TEMPERATURE),
        (400, {"message": "invalid temperature: only 1 is allowed for this model"}, Feature.TEMPERATURE),
        (422, {"message": "This response_format type is unavailable now"}, Feature.SCHEMA),
        (400, {"message": "Invalid value for 'n': must be 1"}, Feature.SEVERAL),
        (400, {"message": "n > 1 is not supported"}, Feature.SEVERAL),
        (400, {"message": "property 'seed' is unsupported"}, Feature.SEED),
        (400, {"message": "System role not supported"}, Feature.SYSTEM),
        (500, {"message": "System role not supported"}, Feature.SYSTEM),
        (400, {"message": "Developer instruction is not enabled for models/gemma"}, Feature.SYSTEM),
        (400, {"message": "Only user and assistant roles are supported!"}, Feature.SYSTEM),
        (400, {"message": "Conversation roles must alternate user/assistant/user/assistant/..."}, Feature.SYSTEM),
        (400, {"message": "This model only supports streaming responses"}, Feature.WHOLE),
        (400, {"message": "parameter stream must be set to true"}, Feature.WHOLE),
        (400, {"message": "max_tokens is too large: 32768. This model supports at most 4096 completion tokens"}, None),
        (400, {"message": "max_tokens must be greater than thinking.budget_tokens"}, None),
        (400, {"message": "maximum context length is 4096 tokens"}, None),
        (401, {"message": "temperature"}, None),
        (429, {"message": "System busy"}, None),
        (502, {"message": "stream reset, only"}, None),
        (400, {"message": "Something else"}, None),
    ],
)
def test_the_field_that_a_server_does_not_take_is_read_from_its_words(status: int, error: object, feature: Feature | None) -> None:
    assert spoken_of(found(status, {"error": error}), ALL) is feature


def test_a_field_is_read_from_words_that_a_tweet_holds_as_well() -> None:
    said = {"error": {"message": "Unsupported value: 'temperature' does not support 0."}}
    assert spoken_of(found(400, said, "what a temperature today"), ALL) is Feature.TEMPERATURE


def test_a_field_that_was_not_sent_is_no_culprit() -> None:
    assert spoken_of(found(400, {"error": {"message": "'temperature' is not supported"}}), ALL - {Feature.TEMPERATURE}) is None


def test_a_system_s_text_opens_the_first_turn_of_the_user() -> None:
    chat = (Message("system", "Shorten."), Message("user", "one"), Message("assistant", "1"), Message("user", "two"))
    assert fold_system(chat) == (Message("user", "Shorten.\n\none"), Message("assistant", "1"), Message("user", "two"))
    assert fold_system(chat[1:]) == chat[1:]
    assert fold_system(chat[:1]) == (Message("user", "Shorten."),)
