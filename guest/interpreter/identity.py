"""Which machine this is: another one after each fork."""

MACHINE_ID = "/etc/machine-id"


def machine():
    try:
        with open(MACHINE_ID, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""
