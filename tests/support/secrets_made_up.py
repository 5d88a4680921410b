"""Private things of every kind, made up: none was ever issued to anybody."""

from __future__ import annotations

A = "a1B2c3D4e5F6g7H8"
HEX = "0123456789abcdef"
BASE64 = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7"
KEY_LINES = "\n".join(f"{number:02}{BASE64}" for number in range(10, 22))
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{KEY_LINES}\nab==\n-----END RSA PRIVATE KEY-----"

MADE_UP: dict[str, tuple[str, ...]] = {
    "age_key": ("AGE-SECRET-KEY-1" + "QPZRY9X8" * 7,),
    "api_key": (
        "sk-proj-" + "a1B2_-" * 6,
        "sk-ant-api03-" + A * 5,
        "sk_live_" + A * 2,
        "gsk_" + A * 3,
        "r8_" + A * 3,
        "tvly-dev-" + A * 2,
        "tskey-auth-" + A + "-" + A,
        "dop_v1_" + HEX * 4,
    ),
    "aws_key": ("AKIAA1B2C3D4E5F6G7H8", "ABIAA1B2C3D4E5F6G7H8"),
    "azure_key": ("AccountKey=" + "a1B2" * 21 + "ab==",),
    "bitcoin_key": ("xprv" + "9s21ZrQH" * 13 + "abc",),
    "cashu_token": ("cashuB" + A * 4,),
    "discord_token": ("M" + A + "a1B2c3D.aB3_-x." + "a1B2c3D4e" * 3,),
    "github_token": ("ghp_" + "a1B2" * 9, "github_pat_" + A * 3),
    "gitlab_token": ("glpat-" + A + "a1B2", "glptt-" + HEX * 2 + HEX[:8], "glrt-" + A + "a1B2"),
    "google_key": ("AIza" + "a1B2c3D" * 5,),
    "google_token": ("ya29." + A * 2,),
    "huggingface_token": ("hf_" + A * 2 + "ab",),
    "jwt": (
        "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK",
        "eyJhbGciOiJkaXIiLCJ.." + "a1B2c3D4e5F6." * 2 + "a1B2c3D4e5F6",
    ),
    "macaroon": ("0201036c6e64" + HEX * 4, "AgEDbG5k" + A * 4, "MDAxMmxvY2F0aW9u" + A * 4),
    "mailchimp_key": (HEX * 2 + "-us12",),
    "nostr_secret": ("nsec1" + "qpzry9x8" * 7 + "qp", ("nsec1" + "qpzry9x8" * 7 + "qp").upper()),
    "npm_token": ("npm_" + "a1B2" * 9,),
    "private_key": (
        PEM,
        PEM.replace("RSA ", "OPENSSH "),
        PEM.replace("RSA PRIVATE KEY", "PGP PRIVATE KEY BLOCK"),
    ),
    "pypi_token": ("pypi-" + "AgEIcHlwaS5vcmc" * 6,),
    "sendgrid_key": ("SG." + "a1B2" * 5 + "ab." + "c3D4" * 10 + "abc",),
    "slack_token": ("xoxb-123456789012-a1B2c3D4", "xapp-1-A012B345-" + A * 2),
    "square_key": ("sq0csp-" + "a1B2" * 10 + "abc",),
    "telegram_token": ("123456789:AA" + "a1B2c3D4e5F" * 3,),
    "twilio_key": ("SK" + HEX * 2,),
    "vault_token": ("hvs." + A * 2,),
}
"""Those with a shape of their own, whatever stands round them."""

NAMED: dict[str, tuple[tuple[str, str, str], ...]] = {
    "assigned_secret": (
        ("AWS_SECRET_ACCESS_KEY=", "wJalrXUtnFEMI/K7MDENG/bPxRfiCY23EXAMPLEKEY", "\n"),
        ('"db_password": "', "correct1horse2battery3", '"'),
        (r"{\"api_key\": \"", A * 2, r"\"}"),
        (r"{\\\"token\\\":\\\"", A * 2, r"\\\"}"),
        (r"token\u003d", A * 2, " "),
        ("signing-key := `", A * 2, "`"),
        ('"secretKey": "', r"wJalr2XUtnFEMI\/K7MDENG\/bPxRfiCY", '"'),
    ),
    "aws_key": (('aws_the_key_is = "', "wJalrXUtnFEMIxK7MDENGxbPxRfiCYEXAMPLEKEY", '"'),),
    "basic_auth": (
        ("Authorization: Basic ", "YWxpY2U6aHVudGVyMg==", "\n"),
        (r"\"authorization\":\"basic ", "YWxpY2U6aHVudGVyMg", r"\""),
    ),
    "bearer": (("Authorization: ", "Bearer abcdefghijklmnopqrstuvwxyz", "\n"),),
    "connection_string": (
        ("Server=db;User Id=sa;Password=", "hunter2!", ";Encrypt=yes"),
        ("Uid=sa; Pwd=", "hunter2!", '"'),
    ),
    "cookie": (
        ("Cookie: ", "session=" + A * 2 + "; theme=dark", "\n"),
        (r"set-cookie: ", "sid=" + A * 2 + "; Path=/", "; HttpOnly"),
    ),
    "env_secret": (
        ("export DB_PASSWORD=", "hunter2", "\n"),
        (r"A=b\nGITHUB_TOKEN=" + '"', "x1y2z3", '"'),
        ("STRIPE_API_KEY='", "test1234", "'"),
    ),
    "named_secret": (
        ('{"password": "', "hunter2", '"}'),
        (r"{\"client_secret\":\"", "x1y2z3!", r"\"}"),
        ("'apiKey': '", "test12345", "'"),
    ),
    "private_key": (("Private-Lines: 12", "\n" + KEY_LINES, "\nPrivate-MAC: 00"),),
    "rune": (
        ('"rune": "', "a1B2c3" * 7 + "A9" + "MTIzNDU2Nzg5MA==", '"'),
        ("Rune: ", "a1B2c3" * 7 + "w9" + "MTIz", "\n"),
    ),
    "slack_hook": (("https://hooks.slack.com/services/", "T00000000/B00000000/" + "a1B2" * 6, " "),),
    "url_password": (
        ("postgres://", "bob:hunter2", "@db:5432/x"),
        ("redis://", ":p%40ss!", "@cache"),
        ('{"url":"https://', "x:y$z", '@h.org"}'),
    ),
    "wallet_secret": (
        ("nostr+walletconnect://a?relay=wss://r&secret=", HEX * 4, "&lud16=x"),
        (r"nostr+walletconnect://a?relay=r\u0026secret=", HEX * 4, '"'),
    ),
    "email": (
        ("mail ", "jürgen.o_x+y@mail.example.org", "."),
        ("-+", "a@b.org", " "),
        (r"a\n", "alice@x.org", r"\n"),
    ),
    "home_path": (
        (r"\n", "/home/alice", r"/x\n"),
        ("at ", "/home/jürgen", "/x"),
        ("", "/mnt/c/Users/bob", "/x"),
        ("", "/cygdrive/c/Users/bob", "/x"),
        ("", "/System/Volumes/Data/Users/bob", "/x"),
        ("file://", "/home/alice", "/x"),
        ("see ", "/home/alice", "."),
        ("{'", r"C:\\Users\\bob", r"\\x'}"),
        ("", r"C:\Users\Bob Smith", r"\x"),
        ('"', r"\/home\/alice", r"\/x"),
        ("", r"\\wsl$\Ubuntu\home\alice", r"\x"),
        ("", r"\\wsl.localhost\Ubuntu\home\alice", r"\x"),
        ("~/.claude/projects/", "-home-alice", "-code"),
        ("projects\\", "C--Users-alice", "-code"),
    ),
}
"""Those that what stands before them gives away: before, the private part, after."""
