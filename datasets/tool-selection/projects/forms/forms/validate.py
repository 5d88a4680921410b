from forms.rules import between, looks_like_email, required

SIGN_UP = {"name": [required], "age": [required, between(18, 120)], "email": [required, looks_like_email]}


def validate(form, rules=SIGN_UP):
    """The first complaint about each field."""
    problems = {}
    for field, checks in rules.items():
        for check in checks:
            problem = check(form.get(field))
            if problem:
                problems[field] = problem
                break
    return problems


def summary(problems):
    """One sentence, fields in alphabetical order."""
    if not problems:
        return "all good"
    return "; ".join(f"{field} {problems[field]}" for field in sorted(problems))
