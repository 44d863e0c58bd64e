"""LeNet from ONNX: one call, any batch in the range."""

from __future__ import annotations

import tensorwright as tw
from lenet_files import MODEL, OUTPUT, digits, report


def main() -> None:
    images, _ = digits()
    engine = tw.build(MODEL, shapes={"batch": (1, 20, 20)}, level=1)
    report(engine(images)[OUTPUT])


if __name__ == "__main__":
    main()
