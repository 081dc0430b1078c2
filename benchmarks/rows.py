"A row of measurements, appended to its file with the day, the machine and the versions"
import csv, json
from datetime import date

from dogbreed_sm.core import machine, versions


def append_row(path, row):
    "Append `row` (column to value) to a CSV; the first one writes the names of the columns"
    row = {'date': date.today().isoformat(), **row, 'machine': json.dumps(machine()), 'versions': json.dumps(versions())}
    new = not path.exists()
    with open(path, 'a', newline='') as f:
        w = csv.DictWriter(f, row)
        if new: w.writeheader()
        w.writerow(row)
