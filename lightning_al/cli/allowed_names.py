"""The classes and functions that a configuration may name, each by its public name."""

from __future__ import annotations

from collections.abc import Mapping

_LIGHTNING = {
    "": "Trainer",
    ".callbacks": (
        "BackboneFinetuning DeviceStatsMonitor EMAWeightAveraging EarlyStopping GradientAccumulationScheduler "
        "LearningRateMonitor ModelCheckpoint ModelPruning ModelSummary OnExceptionCheckpoint RichModelSummary "
        "RichProgressBar StochasticWeightAveraging TQDMProgressBar Timer WeightAveraging"
    ),
    ".callbacks.progress.rich_progress": "RichProgressBarTheme",
    ".loggers": "CSVLogger MLFlowLogger TensorBoardLogger WandbLogger",
    ".strategies": "DDPStrategy",
}
# Left out: classes that take functions or find modules by name (accelerators, environments, plugins, profilers,
# `LambdaCallback`, `LightningCLI`), that load checkpoints (`LearningRateFinder`, `BatchSizeFinder`), that write
# into the current folder by default (`SpikeDetection`), and loggers that upload (Comet, Neptune, LitLogger).

_TRANSFORMS = (
    "AugMix AutoAugment AutoAugmentPolicy CenterCrop ColorJitter Compose ConvertImageDtype ElasticTransform FiveCrop "
    "GaussianBlur Grayscale InterpolationMode LinearTransformation Normalize PILToTensor Pad RandAugment "
    "RandomAdjustSharpness RandomAffine RandomApply RandomAutocontrast RandomChoice RandomCrop RandomEqualize "
    "RandomErasing RandomGrayscale RandomHorizontalFlip RandomInvert RandomOrder RandomPerspective RandomPosterize "
    "RandomResizedCrop RandomRotation RandomSolarize RandomVerticalFlip Resize TenCrop ToPILImage ToTensor "
    "TrivialAugmentWide"
)

_CLASSIFICATION = (
    "AUROC Accuracy AveragePrecision CalibrationError CohenKappa ConfusionMatrix EER ExactMatch F1Score FBetaScore "
    "HammingDistance HingeLoss JaccardIndex LogAUC MatthewsCorrCoef NegativePredictiveValue Precision "
    "PrecisionAtFixedRecall PrecisionRecallCurve ROC Recall RecallAtFixedPrecision SensitivityAtSpecificity "
    "Specificity SpecificityAtSensitivity StatScores"
)

_REGRESSION = (
    "ConcordanceCorrCoef ContinuousRankedProbabilityScore CosineSimilarity CriticalSuccessIndex ExplainedVariance "
    "JensenShannonDivergence KLDivergence KendallRankCorrCoef LogCoshError MeanAbsoluteError "
    "MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogError MinkowskiDistance "
    "NormalizedRootMeanSquaredError PearsonCorrCoef R2Score RelativeSquaredError SpearmanCorrCoef "
    "SymmetricMeanAbsolutePercentageError TweedieDevianceScore WeightedMeanAbsolutePercentageError"
)

_WRAPPERS = "BootStrapper ClasswiseWrapper MetricTracker MinMaxMetric MultioutputWrapper MultitaskWrapper Running"

_AGGREGATION = "CatMetric MaxMetric MeanMetric MinMetric RunningMean RunningSum SumMetric"

_ACQUISITION = (
    "AtMostPerGroup BADGE BAIT BALD BatchBALD BatchEPIG ClassBalanced ClusterMargin CoreSet DropQuery EPIG Entropy "
    "LeastConfidence Margin MaxHerding ProbCover Random Stochastic Subsample TypiClust UHerding VariationRatio"
)

_BY_MODULE = {
    "lightning_al": (
        f"{_ACQUISITION} ActiveDataModule ActiveLearning Ask Deterministic Files LabelStudio LastLayer MCDropout Noisy "
        "Page Revealed TextEncoder TimmEncoder image_folder table"
    ),
    "lightning_al.acquisition": _ACQUISITION,
    "lightning_al.data.image_folder": "image_folder",
    "lightning_al.data.table": "table",
    "lightning_al.demos": (
        "Classifier Digits LinearHead MNIST Pixels digits_cnn image_network mlp mlp_head paper_cnn table_network "
        "text_network"
    ),
    "lightning_al.demos.networks": "digits_cnn paper_cnn",
    "lightning_al.oracle": "Ask Files LabelStudio Noisy Page Revealed",
    "lightning_al.posterior": "Deterministic LastLayer MCDropout",
    "lightning_al.posterior.last_layer": "LastLayer",
    "lightning_al.report.progress": "RoundProgress",
    **{
        f"{lightning}{part}": names
        for lightning in ("pytorch_lightning", "lightning.pytorch")
        for part, names in _LIGHTNING.items()
    },
    "torch.nn": (
        "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveLogSoftmaxWithLoss AdaptiveMaxPool1d "
        "AdaptiveMaxPool2d AdaptiveMaxPool3d AlphaDropout AvgPool1d AvgPool2d AvgPool3d BCELoss BCEWithLogitsLoss "
        "BatchNorm1d BatchNorm2d BatchNorm3d Bilinear CELU CTCLoss ChannelShuffle CircularPad1d CircularPad2d "
        "CircularPad3d ConstantPad1d ConstantPad2d ConstantPad3d Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d "
        "ConvTranspose3d CosineEmbeddingLoss CosineSimilarity CrossEntropyLoss Dropout Dropout1d Dropout2d Dropout3d "
        "ELU Embedding EmbeddingBag FeatureAlphaDropout Flatten Fold FractionalMaxPool2d FractionalMaxPool3d GELU GLU "
        "GRU GRUCell GaussianNLLLoss GroupNorm Hardshrink Hardsigmoid Hardswish Hardtanh HingeEmbeddingLoss HuberLoss "
        "Identity InstanceNorm1d InstanceNorm2d InstanceNorm3d KLDivLoss L1Loss LPPool1d LPPool2d LPPool3d LSTM "
        "LSTMCell LayerNorm LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d LazyConv1d LazyConv2d LazyConv3d "
        "LazyConvTranspose1d LazyConvTranspose2d LazyConvTranspose3d LazyInstanceNorm1d LazyInstanceNorm2d "
        "LazyInstanceNorm3d LazyLinear LeakyReLU Linear LocalResponseNorm LogSigmoid LogSoftmax MSELoss "
        "MarginRankingLoss MaxPool1d MaxPool2d MaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d Mish ModuleDict "
        "ModuleList MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss MultiheadAttention NLLLoss PReLU "
        "PairwiseDistance PixelShuffle PixelUnshuffle PoissonNLLLoss RMSNorm RNN RNNCell RReLU ReLU ReLU6 "
        "ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d SELU "
        "Sequential SiLU Sigmoid SmoothL1Loss SoftMarginLoss Softmax Softmax2d Softmin Softplus Softshrink Softsign "
        "SyncBatchNorm Tanh Tanhshrink Threshold Transformer TransformerDecoder TransformerDecoderLayer "
        "TransformerEncoder TransformerEncoderLayer TripletMarginLoss Unflatten Unfold Upsample UpsamplingBilinear2d "
        "UpsamplingNearest2d ZeroPad1d ZeroPad2d ZeroPad3d"
    ),
    "torch.optim": (
        "ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax LBFGS Muon NAdam RAdam RMSprop Rprop SGD SparseAdam"
    ),
    "torch.optim.lr_scheduler": (
        "ChainedScheduler ConstantLR CosineAnnealingLR CosineAnnealingWarmRestarts CyclicLR ExponentialLR LinearLR "
        "MultiStepLR OneCycleLR PolynomialLR ReduceLROnPlateau SequentialLR StepLR"
    ),
    "torch.utils.data": (
        "BatchSampler ConcatDataset DataLoader DistributedSampler RandomSampler SequentialSampler StackDataset Subset "
        "SubsetRandomSampler TensorDataset WeightedRandomSampler"
    ),
    "torchmetrics": f"{_CLASSIFICATION} {_REGRESSION} {_WRAPPERS} {_AGGREGATION} MetricCollection",
    "torchmetrics.aggregation": _AGGREGATION,
    "torchmetrics.classification": " ".join(
        [
            *(
                f"{kind}{name}"
                for kind in ("", "Binary", "Multiclass", "Multilabel")
                for name in _CLASSIFICATION.split()
            ),
            "BinaryFairness BinaryGroupStatRates",
            "MultilabelCoverageError MultilabelRankingAveragePrecision MultilabelRankingLoss",
        ]
    ),
    "torchmetrics.regression": _REGRESSION,
    "torchmetrics.wrappers": _WRAPPERS,
    # Left out: datasets that unpickle files of an unknown hash (LSUN), write where they should only read (Caltech,
    # Cityscapes, INaturalist, ImageNet, PhotoTour), take addresses from files (Kinetics, SBU), or call a function that
    # they are given (DatasetFolder).
    "torchvision.datasets": (
        "CIFAR10 CIFAR100 CelebA Country211 DTD EMNIST EuroSAT FER2013 FGVCAircraft FakeData FashionMNIST "
        "Flowers102 Food101 GTSRB ImageFolder Imagenette KMNIST MNIST OxfordIIITPet PCAM QMNIST RenderedSST2 SEMEION "
        "STL10 SUN397 SVHN StanfordCars USPS VOCDetection VOCSegmentation"
    ),
    # Networks without weights, which would come from addresses.
    "torchvision.models": (
        "AlexNet ConvNeXt DenseNet EfficientNet GoogLeNet Inception3 MNASNet MaxVit MobileNetV2 MobileNetV3 RegNet "
        "ResNet ShuffleNetV2 SqueezeNet SwinTransformer VGG VisionTransformer"
    ),
    "torchvision.ops": (
        "Conv2dNormActivation Conv3dNormActivation DropBlock2d DropBlock3d FrozenBatchNorm2d MLP Permute "
        "SqueezeExcitation StochasticDepth"
    ),
    "torchvision.transforms": _TRANSFORMS,
    "torchvision.transforms.v2": (
        f"{_TRANSFORMS} ClampBoundingBoxes ClampKeyPoints ConvertBoundingBoxFormat CutMix GaussianNoise Identity JPEG "
        "MixUp RGB RandomChannelPermutation RandomIoUCrop RandomPhotometricDistort RandomResize RandomShortestSize "
        "RandomZoomOut SanitizeBoundingBoxes SanitizeKeyPoints ScaleJitter SetClampingMode ToDtype ToImage "
        "ToPureTensor UniformTemporalSubsample"
    ),
}

ALLOWED: Mapping[str, frozenset[str]] = {module: frozenset(names.split()) for module, names in _BY_MODULE.items()}
"""The public names by module. A name that a release of the package lacks is ignored."""
