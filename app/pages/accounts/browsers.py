"""What a browser calls itself, in two words a person knows."""

# In this order: most browsers also claim to be those further down.
_BROWSERS = ("Edg", "OPR", "Firefox", "Chrome", "Safari", "curl")
_NAMES = {"Edg": "Edge", "OPR": "Opera"}
_SYSTEMS = ("Android", "iPhone", "iPad", "Windows", "Mac OS X", "CrOS", "Linux")


def browser_name(user_agent: str) -> str:
    """Browser and system, such as `Firefox on Linux`; what it says itself where neither is known."""
    browser = next((each for each in _BROWSERS if f"{each}/" in user_agent), None)
    system = next((each for each in _SYSTEMS if each in user_agent), None)
    if browser is None:
        return user_agent or "unknown"
    name = _NAMES.get(browser, browser)
    return f"{name} on {system}" if system else name
