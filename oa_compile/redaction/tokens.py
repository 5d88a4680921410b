"""Secrets with a shape of their own: whoever issues them begins or builds them like nothing else.

Each takes in the whole run of characters a token is made of: what is left of one may still be one. A name
before a value is `named`'s, a key of many lines is `keys`'.
"""

from __future__ import annotations

from oa_compile.redaction.pattern import BACKSLASHES, Pattern, secret

_VENDORS = "|".join(
    (
        r"(?:sk|pk|rk)-(?:ant-|proj-|or-|live-|test-)?[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic, OpenRouter, …
        r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}",  # Stripe
        r"(?:gsk_|xai-)[A-Za-z0-9]{40,}",  # Groq, xAI
        r"r8_[A-Za-z0-9]{37,}",  # Replicate
        r"pplx-[A-Za-z0-9]{40,}",  # Perplexity
        r"tvly-[A-Za-z0-9-]{20,}",  # Tavily
        r"lsv2_(?:pt|sk)_[0-9a-f]{32}\w*",  # LangSmith
        r"do[opr]_v1_[0-9a-f]{64}",  # DigitalOcean
        r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32,}",  # Shopify
        r"lin_api_[A-Za-z0-9]{40,}",  # Linear
        r"ntn_[A-Za-z0-9]{40,}",  # Notion
        r"dapi[0-9a-f]{32}(?:-[0-9]+)?",  # Databricks
        r"sbp_[0-9a-f]{40,}",  # Supabase
        r"figd_[\w-]{40,}",  # Figma
        r"gl(?:sa|c)_[A-Za-z0-9+/=_]{32,}",  # Grafana
        r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}",  # Postman
        r"dckr_pat_[\w-]{27,}",  # Docker Hub
        r"rubygems_[0-9a-f]{48}",  # RubyGems
        r"NRAK-[A-Z0-9]{27}",  # New Relic
        r"tskey-[a-z]{1,20}-[A-Za-z0-9-]{20,}",  # Tailscale
        r"AKCp[A-Za-z0-9]{60,}",  # Artifactory
    )
)

PATTERNS: tuple[Pattern, ...] = (
    # Its first part may begin after any hyphen: looked for from the run's beginning, once, and only when
    # the run is followed by the other two parts.
    secret(
        "jwt",
        r"(?<![\w-])(?=[\w-]++\.eyJ[\w-]{8,}+\.[\w-]{8})[\w-]*?"
        r"(?P<private>\<eyJ[\w-]{8,}+\.eyJ[\w-]{8,}+\.[\w-]{8,}+)",
        sieve=r"\.eyJ[\w-]{8}",
    ),
    # The encrypted kind has five parts, of which the second may be empty.
    secret(
        "jwt",
        r"(?:(?<![\w-])|(?<=\\[nrt]))eyJ[\w-]{12,}+\.[\w-]*+\.[\w-]{12,}+\.[\w-]{12,}+\.[\w-]{12,}+",
        sieve=r"\.[\w-]*\.[\w-]{12,}\.[\w-]{12,}\.[\w-]{12}",
    ),
    secret("api_key", rf"\<(?:{_VENDORS})"),
    # Beginnings nothing else has count in the middle of a word as well.
    secret("github_token", r"(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,})"),
    secret("gitlab_token", r"glpat-[\w-]{20,}(?:\.[\w-]+)*"),
    secret("npm_token", r"npm_[A-Za-z0-9]{36,}"),
    secret("pypi_token", r"pypi-[\w-]{50,}"),
    secret("aws_key", r"\<(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    secret("google_key", r"AIza[\w-]{35,}"),
    secret("google_token", r"\<ya29\.[\w-]{20,}"),
    secret("slack_token", r"xox[abeoprs]-[A-Za-z0-9-]{10,}|\<xapp-[0-9]-[A-Z0-9]+-[A-Za-z0-9-]{20,}"),
    secret("slack_hook", r"\<hooks\.slack\.com/services/(?P<private>[\w/]{20,})"),
    secret("huggingface_token", r"\<hf_[A-Za-z0-9]{30,}"),
    secret("sendgrid_key", r"\<SG\.[\w-]{16,32}\.[\w-]{16,64}"),
    secret("vault_token", r"\<hv[sbr]\.[\w-]{24,}"),
    secret("age_key", r"\<AGE-SECRET-KEY-1[A-Z0-9]{50,}"),
    # NIP-19's secret keys and NIP-49's encrypted ones: bech32, which is also written in capitals.
    secret("nostr_secret", r"(?:nsec1|ncryptsec1)[02-9ac-hj-np-z]{50,}", ignore_case=True),
    # What a wallet connection (NIP-47) ends in: who has it can spend.
    secret(
        "wallet_secret",
        rf"(?:[?&;]|u0026)secret(?:=|{BACKSLASHES}u003d|%3d)(?P<private>[0-9a-f]{{64}})(?![0-9a-f])",
        sieve=r"secret(?:=|u003d|%3d|\\+u003d)[0-9a-f]{64}",
        ignore_case=True,
    ),
    # LND's macaroons in hex and base64, and any macaroon of the older format, which begins with a length
    # and "location".
    secret("macaroon", r"\<0201036c6e64[0-9a-f]{40,}", ignore_case=True),
    secret("macaroon", r"\<(?:AgEDbG5k|MDA\w{3}xvY2F0aW9u)[\w+/-]{40,}=*"),
    # Core Lightning's runes: 32 bytes of which nothing is known, and then an equals sign, in base64.
    secret(
        "rune",
        r"\<[Rr]une[\"'\\ :=]{1,40}(?P<private>[\w-]{42}[AEIMQUYcgkosw048]9[\w-]*={0,2})",
    ),
    secret("cashu_token", r"\<cashu[AB][\w-]{40,}=*"),
    # BIP 32's extended private keys.
    secret("bitcoin_key", r"\<[xyztuvYZUV]prv[1-9A-HJ-NP-Za-km-z]{100,}"),
)
