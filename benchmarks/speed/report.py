def write_report(x): pass
