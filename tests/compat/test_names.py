"""Every public name of the older interface exists."""

from __future__ import annotations

from operator import attrgetter

import pytest

from tensorwright.compat import pycuda, tensorrt, uff
from tensorwright.compat.pycuda import autoinit, driver

MEMBERS = {
    "DataType": "FLOAT HALF INT8 INT32",
    "ActivationType": "RELU SIGMOID TANH",
    "PoolingType": "MAX AVERAGE MAX_AVERAGE_BLEND",
    "ElementWiseOperation": "SUM PROD MAX MIN SUB DIV POW",
    "UnaryOperation": "EXP LOG SQRT RECIP ABS NEG",
    "ScaleMode": "UNIFORM CHANNEL ELEMENTWISE",
    "ReduceOperation": "SUM PROD MAX MIN AVG",
    "TopKOperation": "MAX MIN",
    "RNNOperation": "RELU TANH LSTM GRU",
    "RNNDirection": "UNIDIRECTION BIDIRECTION",
    "RNNInputMode": "LINEAR SKIP",
    "RNNGateType": "INPUT OUTPUT FORGET UPDATE RESET CELL HIDDEN",
    "LogSeverity": "INTERNAL_ERROR ERROR WARNING INFO",
    "TensorLocation": "DEVICE HOST",
    "CalibrationAlgoType": "LEGACY_CALIBRATION ENTROPY_CALIBRATION",
    "LayerType": "CONVOLUTION FULLY_CONNECTED ACTIVATION POOLING LRN SCALE SOFTMAX DECONVOLUTION CONCATENATION "
    "ELEMENTWISE UNARY PADDING SHUFFLE REDUCE TOPK GATHER MATRIX_MULTIPLY CONSTANT RNN RNN_V2 RAGGED_SOFTMAX PLUGIN",
}

NAMES = {
    "": "infer parsers utils lite legacy __version__ nptype volume init_libnvinfer_plugins",
    "infer": "ConsoleLogger ColorLogger Logger LogSeverity create_infer_builder create_infer_runtime "
    "create_infer_refitter DataType ActivationType PoolingType ElementWiseOperation UnaryOperation ScaleMode "
    "ReduceOperation TopKOperation Dims DimsHW DimsCHW DimsNCHW Weights Weights.empty Builder NetworkDefinition "
    "CudaEngine ExecutionContext HostMemory Runtime Profiler EntropyCalibrator LegacyCalibrator PluginFactory Plugin",
    "infer.Logger": "log",
    "infer.ConsoleLogger": "log",
    "infer.ColorLogger": "log",
    "infer.Dims": "C H W N nbDims to_DimsHW to_DimsCHW to_DimsNCHW",
    "infer.Builder": "create_network set_max_batch_size get_max_batch_size set_max_workspace_size "
    "get_max_workspace_size set_half2_mode get_half2_mode set_fp16_mode get_fp16_mode set_int8_mode get_int8_mode "
    "set_int8_calibrator set_debug_sync get_debug_sync set_min_find_iterations get_min_find_iterations "
    "set_average_find_iterations get_average_find_iterations platform_has_fast_fp16 platform_has_fast_int8 "
    "set_gpu_allocator build_cuda_engine destroy",
    "infer.NetworkDefinition": "add_input mark_output get_nb_inputs get_input get_nb_outputs get_output get_nb_layers "
    "get_layer add_convolution add_fully_connected add_activation add_pooling add_lrn add_scale add_softmax "
    "add_concatenation add_deconvolution add_element_wise add_unary add_padding add_shuffle add_reduce add_topk "
    "add_gather add_ragged_softmax add_matrix_multiply add_constant add_rnn add_rnnv2 add_plugin add_plugin_ext "
    "set_pooling_output_dimensions_formula set_convolution_output_dimensions_formula "
    "set_deconvolution_output_dimensions_formula destroy",
    "infer.Tensor": "set_name get_name get_dimensions set_dimensions get_type set_type is_network_input "
    "is_network_output get_location",
    "infer.Layer": "get_output get_nb_outputs get_input get_nb_inputs set_name get_name get_type",
    "infer.ConvolutionLayer": "set_stride get_stride set_padding get_padding set_dilation get_dilation set_nb_groups "
    "get_nb_groups set_kernel_size get_kernel_size set_nb_output_maps get_nb_output_maps set_kernel_weights "
    "get_kernel_weights set_bias_weights get_bias_weights",
    "infer.DeconvolutionLayer": "set_stride set_padding set_nb_groups set_kernel_weights",
    "infer.FullyConnectedLayer": "set_nb_output_channels get_nb_output_channels set_kernel_weights set_bias_weights",
    "infer.ActivationLayer": "set_activation_type get_activation_type",
    "infer.PoolingLayer": "set_pooling_type get_pooling_type set_window_size get_window_size set_stride get_stride "
    "set_padding get_padding set_blend_factor get_blend_factor set_average_count_excludes_padding "
    "get_average_count_excludes_padding",
    "infer.LRNLayer": "set_window_size get_window_size set_alpha get_alpha set_beta get_beta set_k get_k",
    "infer.ScaleLayer": "set_mode get_mode set_shift get_shift set_scale get_scale set_power get_power",
    "infer.SoftMaxLayer": "set_axes get_axes",
    "infer.ConcatenationLayer": "set_axis get_axis",
    "infer.ElementWiseLayer": "set_operation get_operation",
    "infer.UnaryLayer": "set_operation get_operation",
    "infer.PaddingLayer": "set_pre_padding get_pre_padding set_post_padding get_post_padding",
    "infer.ShuffleLayer": "set_first_transpose get_first_transpose set_reshape_dimensions get_reshape_dimensions "
    "set_second_transpose get_second_transpose",
    "infer.ReduceLayer": "set_operation get_operation set_reduce_axes get_reduce_axes set_keep_dimensions "
    "get_keep_dimensions",
    "infer.TopKLayer": "set_operation get_operation set_k get_k set_reduce_axes get_reduce_axes",
    "infer.GatherLayer": "set_gather_axis get_gather_axis",
    "infer.RNNLayer": "set_weights get_weights set_bias get_bias set_operation get_operation set_direction "
    "get_direction set_input_mode get_input_mode set_hidden_state get_hidden_state set_cell_state get_cell_state "
    "get_layer_count get_hidden_size get_seq_length get_data_length",
    "infer.RNNv2Layer": "set_weights_for_gate get_weights_for_gate set_bias_for_gate get_bias_for_gate "
    "set_sequence_lengths get_sequence_lengths set_hidden_state set_cell_state get_max_seq_length",
    "infer.MatrixMultiplyLayer": "set_transpose get_transpose",
    "infer.ConstantLayer": "set_weights get_weights set_dimensions get_dimensions",
    "infer.CudaEngine": "get_nb_bindings get_binding_index get_binding_name binding_is_input get_binding_dimensions "
    "get_binding_data_type get_max_batch_size get_nb_layers get_workspace_size serialize create_execution_context "
    "create_execution_context_without_device_memory get_device_memory_size get_location is_refittable destroy",
    "infer.HostMemory": "data size type destroy",
    "infer.ExecutionContext": "execute enqueue set_debug_sync get_debug_sync set_profiler get_profiler get_engine "
    "set_device_memory set_name get_name destroy",
    "infer.Runtime": "deserialize_cuda_engine set_gpu_allocator destroy",
    "infer.Profiler": "report_layer_time print_layer_times",
    "infer.EntropyCalibrator": "get_batch_size get_batch read_calibration_cache write_calibration_cache get_algorithm",
    "infer.LegacyCalibrator": "get_quantile get_regression_cutoff read_histogram_cache write_histogram_cache",
    "infer.PluginFactory": "is_plugin create_plugin",
    "infer.GpuAllocator": "allocate free",
    "utils": "caffe_to_trt_engine uff_to_trt_engine uff_file_to_trt_engine trt_network_to_trt_engine load_engine "
    "write_engine_to_file load_weights",
    "parsers.uffparser": "create_uff_parser UffInputOrder_kNCHW UffInputOrder_kNHWC UffInputOrder_kNC "
    "shutdown_protobuf_library",
    "parsers.uffparser.UffParser": "register_input register_output parse parse_from_file set_plugin_factory destroy",
    "parsers.caffeparser": "create_caffe_parser shutdown_protobuf_library",
    "parsers.caffeparser.CaffeParser": "parse parse_binary_proto set_plugin_factory destroy",
    "parsers.caffeparser.BlobNameToTensor": "find",
    "parsers.caffeparser.BinaryProtoBlob": "get_data get_dimensions destroy",
    "parsers.onnxparser": "create_onnxconfig create_onnxparser",
    "parsers.onnxparser.OnnxConfig": "set_model_file_name set_model_filename set_model_dtype get_model_dtype "
    "get_model_file_name set_print_layer_info add_verbosity reduce_verbosity set_verbosity_level "
    "report_parsing_info destroy",
    "parsers.onnxparser.LegacyOnnxParser": "parse report_parsing_info convert_to_trtnetwork get_trtnetwork "
    "convert_to_trt_network get_trt_network destroy",
    "lite.Engine": "infer save apply_postprocessing",
}

LATER_NAMES = {
    "": "Logger ILogger Builder Runtime OnnxParser CaffeParser UffParser UffInputOrder BuilderFlag MemoryPoolType "
    "NetworkDefinitionCreationFlag DataType float32 float16 int8 int32 bool ActivationType PoolingType PaddingMode "
    "ElementWiseOperation Weights Dims Dims2 Dims3 Dims4 DimsHW IProfiler Profiler ICudaEngine IExecutionContext "
    "INetworkDefinition IHostMemory IInt8EntropyCalibrator IInt8EntropyCalibrator2 IInt8LegacyCalibrator "
    "IInt8MinMaxCalibrator IInt8Calibrator IGpuAllocator TensorIOMode Permutation TacticSource",
    "Logger": "INFO WARNING ERROR VERBOSE INTERNAL_ERROR Severity",
    "ICudaEngine": "get_binding_shape num_io_tensors get_tensor_name get_tensor_mode get_tensor_shape get_tensor_dtype "
    "__iter__ __len__ __getitem__ __enter__ __exit__",
    "IExecutionContext": "execute_async execute_v2 execute_async_v2 execute_async_v3 set_tensor_address "
    "set_binding_shape set_input_shape get_binding_shape set_optimization_profile_async",
    "Builder": "build_engine build_serialized_network",
}

PYCUDA = {
    "driver": "mem_alloc pagelocked_empty pagelocked_zeros pagelocked_empty_like Stream Event Context Device init "
    "memcpy_htod memcpy_htod_async memcpy_dtoh memcpy_dtoh_async memcpy_dtod memcpy_dtod_async memset_d8 memset_d32 "
    "mem_get_info to_device from_device from_device_like DeviceAllocation host_alloc_flags ctx_flags event_flags "
    "Error LogicError MemoryError RuntimeError",
    "driver.Stream": "handle synchronize is_done wait_for_event",
    "driver.Event": "record synchronize query time_since time_till",
    "driver.Context": "synchronize push pop detach get_device attach get_current",
    "driver.Device": "name count compute_capability total_memory make_context",
    "driver.DeviceAllocation": "free __int__",
    "autoinit": "device context",
}


def dotted(table):
    return [f"{owner}.{name}".lstrip(".") for owner, names in table.items() for name in names.split()]


@pytest.mark.parametrize("name", [*dotted(NAMES), *dotted(LATER_NAMES)])
def test_tensorrt_has(name):
    assert attrgetter(name)(tensorrt) is not None


@pytest.mark.parametrize("name", dotted(PYCUDA))
def test_pycuda_has(name):
    assert {driver, autoinit}
    assert attrgetter(name)(pycuda) is not None


@pytest.mark.parametrize("kind", MEMBERS)
def test_enumerations_have_both_spellings(kind):
    for member in MEMBERS[kind].split():
        assert getattr(tensorrt.infer, f"{kind}_k{member}") is getattr(getattr(tensorrt.infer, kind), member)


def test_there_is_no_third_spelling():
    for name in ("DataType_kNONSENSE", "DataType_FLOAT", "Nonsense_kFLOAT"):
        with pytest.raises(AttributeError, match=name):
            getattr(tensorrt.infer, name)


def test_what_can_be_destroyed():
    infer, parsers = tensorrt.infer, tensorrt.parsers
    for kind in (
        infer.Builder, infer.NetworkDefinition, infer.CudaEngine, infer.ExecutionContext, infer.Runtime,
        infer.HostMemory, parsers.uffparser.UffParser, parsers.caffeparser.CaffeParser,
        parsers.caffeparser.BinaryProtoBlob, parsers.onnxparser.OnnxConfig, parsers.onnxparser.LegacyOnnxParser,
    ):  # fmt: skip
        assert callable(kind.destroy)


def test_all_lists_what_there_is():
    for module in (tensorrt, tensorrt.infer, driver, uff, tensorrt.enums):
        assert all(hasattr(module, name) for name in module.__all__)
        assert len(set(module.__all__)) == len(module.__all__)
