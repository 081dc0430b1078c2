"What is compared: short facts about a tensor and about a table, by numpy and pandas alone"
import hashlib

import numpy as np


def digest(v):
    "Shape, type and content of a tensor"
    a = np.ascontiguousarray(v)
    return [list(np.shape(v)), str(a.dtype), hashlib.sha256(a.tobytes()).hexdigest()]


def frame(table):
    "Columns, number of rows, sums of what is numbers, counts of what is words"
    words = [c for c in ('system_metric', 'dimension', 'type', 'framework_metric', 'process') if c in table]
    return dict(columns=list(table.columns), rows=len(table), sums={c: float(table[c].sum()) for c in table.select_dtypes('number')},
        counts={c: {str(k): int(n) for k,n in table[c].value_counts().items()} for c in words})


def events(table):
    "The columns of a table of events that both readers have; smdebug counts time from the first file, we from 1970"
    t = table.drop(columns=['args', 'tid', 'bytes'], errors='ignore')
    first = t.start_time_us.min()
    return t.assign(start_time_us=t.start_time_us-first, end_time_us=t.end_time_us-first)
