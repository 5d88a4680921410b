from inifile.parser import parse

TRUE = ("yes", "true", "on", "1")


def get(settings, section, key, default=None):
    """A setting, looked up in its section and then at the top."""
    if key in settings.get(section, {}):
        return settings[section][key]
    return settings[""].get(key, default)


def flag(text, section, key):
    """A setting as a boolean."""
    return get(parse(text), section, key, "no").lower() in TRUE
