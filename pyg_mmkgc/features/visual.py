r"""Visual encoders of timm and transformers."""

from __future__ import annotations

from typing import Any, Union

import torch
from torch import Tensor

from pyg_mmkgc.errors import DataError, DownloadError
from pyg_mmkgc.features.weights import (
    PretrainedEncoder,
    load_library,
    load_pair,
    model_name,
    no_weights,
)


class TimmEncoder(PretrainedEncoder):
    r"""A model of :obj:`timm` with the preprocessing of its training.

    The output is the input of the classifier. For VGG-16, it is the second
    to last layer with 4,096 channels, which the AdaMF-MAT paper uses for
    DB15K.

    Args:
        model (str or torch.nn.Module): The name of a pre-trained model, such
            as :obj:`"vgg16.tv_in1k"`, or a model of :obj:`timm` that was
            created with :obj:`num_classes=0`.
        device (torch.device or str, optional): The device.
            (default: :obj:`"cpu"`)

    Raises:
        DownloadError: If the weights cannot be found or downloaded.
    """
    kind = 'image'

    def __init__(
        self,
        model: Union[str, torch.nn.Module],
        device: Union[str, torch.device] = 'cpu',
    ) -> None:
        timm = load_library('timm')
        name = model_name('timm', model)
        if isinstance(model, str):
            model = _create(timm, model)
        config = timm.data.resolve_model_data_config(model)
        pretrained = getattr(model, 'pretrained_cfg', {})
        super().__init__(
            name, model, device, architecture=pretrained.get('architecture'),
            preprocessing={**config, 'is_training': False})
        self.prepare = timm.data.create_transform(**config, is_training=False)

    def encode(self, batch: Tensor) -> Tensor:
        return self.model(batch.to(self.device, non_blocking=True))


class TransformersEncoder(PretrainedEncoder):
    r"""A visual model of :obj:`transformers`, such as BEiT, CLIP, SigLIP or
    DINOv2, with the preprocessing of its training.

    The output is the image embedding for models of images and texts (CLIP,
    SigLIP), and the pooled output for all other models.

    Args:
        model (str or transformers.PreTrainedModel): The name or folder of a
            pre-trained model, or a model.
        processor (transformers.BaseImageProcessor, optional): The
            preprocessing. If set to :obj:`None`, it is loaded with the model.
            (default: :obj:`None`)
        revision (str, optional): The branch, tag or commit of the model on
            the hub. (default: :obj:`None`)
        device (torch.device or str, optional): The device.
            (default: :obj:`"cpu"`)

    Raises:
        DownloadError: If the weights cannot be found or downloaded.
    """
    kind = 'image'

    def __init__(
        self,
        model: Any,
        processor: Any = None,
        revision: str | None = None,
        device: Union[str, torch.device] = 'cpu',
    ) -> None:
        name = model_name('transformers', model)
        model, processor = load_pair(model, processor,
                                     'AutoImageProcessor', revision)
        super().__init__(
            name, model, device, architecture=type(model).__name__,
            preprocessing={
                'class': type(processor).__name__,
                **processor.to_dict(),
            })
        self.prepare = _Processor(processor)

    def encode(self, batch: Tensor) -> Tensor:
        batch = batch.to(self.device, non_blocking=True)
        model = getattr(self.model, 'get_image_features', self.model)
        out = model(pixel_values=batch)
        # Before version 5, image embeddings were returned as a tensor.
        return out if isinstance(out, Tensor) else out.pooler_output


def _create(timm: Any, name: str) -> torch.nn.Module:
    try:
        return timm.create_model(name, pretrained=True, num_classes=0)
    except RuntimeError as error:  # The name is unknown or has no weights.
        raise DataError('Expected the name of a pre-trained model of timm '
                        f'(got {name!r}: {error})') from error
    except (OSError, ValueError) as error:
        raise DownloadError(no_weights(name, error)) from error


class _Processor:
    # A class is needed, since a closure cannot be sent to spawned workers.
    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, image: Any) -> Tensor:
        out = self.processor(images=image, return_tensors='pt')
        return out['pixel_values'][0]
