"""The rules of detect-secrets (Yelp), beside our own: others keep them, and they follow new tokens.

Owns which of its detectors are used and why the others are not; every detector it has stands in one of the
two tables, so that an upgrade with a new one is a decision. Its expressions are taken as they are, but for
letters and digits, which in a token are ASCII's. Imported on demand: it brings an HTTP client along.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.plugins.discord import DiscordBotTokenDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector

from oa_compile.redaction.pattern import Pattern, loosened

USED: Mapping[type[RegexBasedDetector], str] = {
    AWSKeyDetector: "aws_key",
    AzureStorageKeyDetector: "azure_key",
    DiscordBotTokenDetector: "discord_token",
    GitHubTokenDetector: "github_token",
    GitLabTokenDetector: "gitlab_token",
    MailchimpDetector: "mailchimp_key",
    PypiTokenDetector: "pypi_token",
    SendGridDetector: "sendgrid_key",
    SlackDetector: "slack_token",
    SquareOAuthDetector: "square_key",
    StripeDetector: "api_key",
    TelegramBotTokenDetector: "telegram_token",
    TwilioKeyDetector: "twilio_key",
}
"""The kind that what each finds is counted as."""

LEFT_OUT: Mapping[str, str] = {
    "ArtifactoryDetector": "finds names such as APDownloader; ours wants the key's length",
    "Base64HighEntropyString": "finds hashes, ids and words",
    "BasicAuthDetector": "finds {user}:{password} in code; ours does not",
    "CloudantDetector": "takes cubic time on spaces",
    "HexHighEntropyString": "finds hashes and ids",
    "IPPublicDetector": "an address is no secret, and version numbers look like one",
    "IbmCloudIamDetector": "takes cubic time on spaces",
    "IbmCosHmacDetector": "takes cubic time on spaces",
    "JwtTokenDetector": "takes quadratic time; ours does not",
    "KeywordDetector": "finds names assigned to names, which is code",
    "NpmDetector": "takes quadratic time; ours does not",
    "OpenAIDetector": "takes quadratic time; ours finds the same",
    "PrivateKeyDetector": "finds the header only; ours finds the key",
    "SoftlayerDetector": "takes cubic time on spaces",
}
"""And why."""


_SIEVES: Mapping[type[RegexBasedDetector], str] = {
    # As it is it would count from every M, N and O at once, and no two texts would have the same states.
    DiscordBotTokenDetector: r"\.[\w-]{6}\.[\w-]{27}",
}
_NO_WORD_FOLLOWS = r"(?!\w)"


def detector_patterns() -> Iterator[Pattern]:
    """The rules of every detector in `USED`."""
    for detector, kind in USED.items():
        for rule in detector().denylist:
            regex = re.compile(rule.pattern, (rule.flags & ~re.UNICODE) | re.ASCII)
            written = "".join(regex.pattern.split()) if regex.flags & re.VERBOSE else regex.pattern
            sieve = _SIEVES.get(detector) or written.replace(_NO_WORD_FOLLOWS, "")
            # Of the groups in these rules, only AWS's is round the secret; others are round its beginning.
            private = 1 if detector is AWSKeyDetector and regex.groups else 0
            ignore_case = bool(regex.flags & re.IGNORECASE)
            yield Pattern("secret", kind, regex, loosened(sieve, ignore_case=ignore_case), private)
