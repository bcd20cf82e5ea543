"""Runs an analysis that a model wrote: it makes a plot, and what it found comes back.

    python data_analysis.py [WORK_DIR]

The code runs in a sandbox, without a network. Its Python needs matplotlib.
"""

import sys

from stockade import code_blocks
from stockade.sync import LocalCommandLineCodeExecutor

# What a model answers to "plot the average temperature of each month, and tell me which is the warmest".
ANSWER = """
First the data:

```python
# filename: data.py
temperatures = {"Jan": 1.1, "Apr": 9.0, "Jul": 19.2, "Oct": 10.1}
```

Then the plot:

```python
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
from data import temperatures

plt.bar(list(temperatures), list(temperatures.values()))
plt.ylabel("°C")
plt.savefig("temperatures.png")
print("The warmest is", max(temperatures, key=temperatures.get))
```
"""

with LocalCommandLineCodeExecutor(work_dir=sys.argv[1] if len(sys.argv) > 1 else "analysis") as executor:
    result = executor.execute_code_blocks(code_blocks(ANSWER))
    print(result.output, end="")
    for block in result.blocks:
        for file in block.files:
            print(f"{file.change}: {executor.work_dir / file.path} ({file.mime}, {file.size} bytes)")
    sys.exit(result.exit_code)
